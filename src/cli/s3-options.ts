import type { Command } from 'commander'
import type { S3Options } from '../server/open-s3.ts'
import { readDurationMs, readList, readPort } from './setting-values.ts'

export interface S3Flags {
  readonly s3Port: string
  readonly s3Ip?: string
  readonly s3Region?: string
  readonly s3Domains: string
  readonly s3V2?: boolean
  readonly s3CodedPolicy: string
  readonly s3Day: string
}

const DAY_MS = 86_400_000

export function addS3Options(command: Command): Command {
  return command
    .option('--s3-port <port>', 'HTTP port of S3; 0 for any that is free, off for none', '8333')
    .option('--s3-ip <address>', 'address on which S3 listens; --ip unless given')
    .option('--s3-region <name>', 'the region clients must sign for; any unless given')
    .option('--s3-domains <names>', 'hosts whose subdomains are buckets, with commas between', '')
    .option('--s3-v2', 'take requests with the old Signature Version 2')
    .option('--s3-coded-policy <policy>', 'how STANDARD_IA and GLACIER_IR are stored', 'ec:4+2')
    .option('--s3-day <time>', 'the length of a day of lifecycle rules; shorter in tests', '24h')
}

/** Undefined: no S3. @throws {StoreError} CONFIG_INVALID */
export function readS3Settings(flags: S3Flags, ip: string): S3Options | undefined {
  if (flags.s3Port === 'off') return undefined
  return {
    port: readPort('--s3-port', flags.s3Port),
    host: flags.s3Ip ?? ip,
    region: flags.s3Region,
    domains: readList(flags.s3Domains),
    isV2Allowed: flags.s3V2 === true,
    codedPolicy: flags.s3CodedPolicy,
    dayMs: readDurationMs('--s3-day', flags.s3Day, { min: 1, max: DAY_MS }),
  }
}
