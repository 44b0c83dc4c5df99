import type { Command } from 'commander'
import { StoreError } from '../base/store-error.ts'
import { parseIpRange } from '../gateway/s3/access/ip-range.ts'
import type { Disk } from '../runtime/disk.ts'
import type { CertificateSource } from '../server/certificate-renewal.ts'
import type { S3Options } from '../server/open-s3.ts'
import { invalidSetting, readCount, readDurationMs, readList, readPort } from './setting-values.ts'
import { readPem } from './tls-options.ts'
import { collectFlag, readWebhooks, type WebhookFlag } from './webhook-options.ts'

export interface S3Flags {
  readonly s3Port: string
  readonly s3Ip?: string
  readonly s3Region?: string
  readonly s3Domains: string
  readonly s3V2?: boolean
  readonly s3CodedPolicy: string
  readonly s3Day: string
  readonly s3OrphanInterval: string
  readonly s3TlsCert?: string
  readonly s3TlsKey?: string
  readonly s3TrustedProxies: string
  readonly s3HashThreads: string
  readonly s3Webhook?: WebhookFlag
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const HASH_THREADS_MAX = 64
/** A pass that is later than this would find more than it believes. */
const ORPHAN_INTERVAL_MS = { min: HOUR_MS, max: 14 * DAY_MS }

export function addS3Options(command: Command): Command {
  return command
    .option('--s3-port <port>', 'HTTP port of S3; 0 for any that is free, off for none', '8333')
    .option('--s3-ip <address>', 'address on which S3 listens; --ip unless given')
    .option('--s3-region <name>', 'the region clients must sign for; any unless given')
    .option('--s3-domains <names>', 'hosts whose subdomains are buckets, with commas between', '')
    .option('--s3-v2', 'take requests with the old Signature Version 2')
    .option(
      '--s3-coded-policy <policy>',
      'how STANDARD_IA, ONEZONE_IA and GLACIER_IR are stored',
      'ec:4+2',
    )
    .option('--s3-day <time>', 'the length of a day of lifecycle rules; shorter in tests', '24h')
    .option(
      '--s3-orphan-interval <time>',
      'bytes without a row are collected so often; or off',
      '24h',
    )
    .option('--s3-tls-cert <file>', 'PEM of the certificate S3 shows to clients: HTTPS')
    .option('--s3-tls-key <file>', 'PEM of its key')
    .option(
      '--s3-trusted-proxies <addresses>',
      'addresses and CIDR blocks, with commas between, whose X-Forwarded-For and -Proto count',
      '',
    )
    .option('--s3-hash-threads <count>', 'threads that hash long bodies beside the server', '1')
    .option(
      '--s3-webhook <name=url>',
      'a URL that events can be delivered to; may be given more than once',
      collectFlag,
    )
}

/** Undefined: no S3. @throws {StoreError} CONFIG_INVALID */
export function readS3Settings(disk: Disk, flags: S3Flags, ip: string): S3Options | undefined {
  if (flags.s3Port === 'off') return undefined
  return {
    port: readPort('--s3-port', flags.s3Port),
    host: flags.s3Ip ?? ip,
    region: flags.s3Region,
    domains: readList(flags.s3Domains),
    isV2Allowed: flags.s3V2 === true,
    codedPolicy: flags.s3CodedPolicy,
    dayMs: readDurationMs('--s3-day', flags.s3Day, { min: 1, max: DAY_MS }),
    orphans: readOrphanTimes('--s3-orphan-interval', flags.s3OrphanInterval),
    trustedProxies: readIpRanges('--s3-trusted-proxies', flags.s3TrustedProxies),
    certificate: certificateSource(disk, flags),
    hashThreads: readCount('--s3-hash-threads', flags.s3HashThreads, {
      min: 0,
      max: HASH_THREADS_MAX,
    }),
    webhooks: readWebhooks(flags.s3Webhook),
  }
}

function readIpRanges(flag: string, text: string): readonly string[] {
  const ranges = readList(text)
  for (const range of ranges) {
    if (parseIpRange(range) !== undefined) continue
    throw invalidSetting(flag, range, 'it must be an address or a block like 10.0.0.0/8')
  }
  return ranges
}

function certificateSource(disk: Disk, flags: S3Flags): CertificateSource | undefined {
  const { s3TlsCert, s3TlsKey } = flags
  if (s3TlsCert === undefined && s3TlsKey === undefined) return undefined
  if (s3TlsCert === undefined || s3TlsKey === undefined) {
    throw new StoreError('CONFIG_INVALID', '--s3-tls-cert and --s3-tls-key belong together')
  }
  return {
    read: async () => ({
      cert: await readPem(disk, '--s3-tls-cert', s3TlsCert),
      key: await readPem(disk, '--s3-tls-key', s3TlsKey),
    }),
  }
}

function readOrphanTimes(flag: string, text: string): S3Options['orphans'] {
  return text === 'off' ? 'off' : { everyMs: readDurationMs(flag, text, ORPHAN_INTERVAL_MS) }
}
