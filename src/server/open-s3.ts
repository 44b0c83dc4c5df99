import { quote, StoreError } from '../base/store-error.ts'
import { type ClientTokens, NO_TOKENS } from '../client/file-tokens.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import { OrphanRunner, type OrphanRunnerConfig } from '../gateway/orphan-runner.ts'
import { type IpRange, parseIpRange } from '../gateway/s3/access/ip-range.ts'
import type { KeyRing } from '../gateway/s3/auth/identity.ts'
import { HashThreads } from '../gateway/s3/body/hash-threads.ts'
import { CachedUsers } from '../gateway/s3/cached-users.ts'
import { CodedPolicy } from '../gateway/s3/coded-policy.ts'
import { EventDeliverer } from '../gateway/s3/events/event-deliverer.ts'
import type { Webhook } from '../gateway/s3/events/webhook.ts'
import { LifecycleRunner } from '../gateway/s3/lifecycle-runner.ts'
import { S3Gateway } from '../gateway/s3/s3-gateway.ts'
import { DEFAULT_REGION } from '../gateway/s3/s3-parts.ts'
import { COPIED_COLLECTION } from '../gateway/stored-bytes.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { ServerCertificate } from '../net/tls.ts'
import type { UsersApi } from '../net/users-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import { CertificateRenewal, type CertificateSource } from './certificate-renewal.ts'

/** What is left out has the default that docs/CLI.md names. */
export interface S3Options {
  /** 0: any that is free. */
  readonly port: number
  readonly host: string
  /** What clients may sign for; any unless given. */
  readonly region?: string | undefined
  /** Hosts whose subdomains are buckets. */
  readonly domains?: readonly string[] | undefined
  /** Signature Version 2 is taken as well. */
  readonly isV2Allowed?: boolean | undefined
  /** How erasure-coded storage classes are stored. */
  readonly codedPolicy?: string | undefined
  /** The length of a day of lifecycle rules. */
  readonly dayMs?: number | undefined
  /** What is due by lifecycle rules is done here; unless given, it is. */
  readonly runsLifecycle?: boolean | undefined
  /** When bytes without a row are collected here. Nobody does that who runs no lifecycle. */
  readonly orphans?: OrphanRunnerConfig | 'off' | undefined
  /** Addresses and CIDR blocks of proxies that are believed when they say for whom they ask. */
  readonly trustedProxies?: readonly string[] | undefined
  /** HTTPS; plain HTTP unless given. */
  readonly certificate?: CertificateSource | undefined
  /** Threads that compute the sums of long bodies; without, the event loop does. */
  readonly hashThreads?: number | undefined
  /** To which buckets can have their events delivered, by names of their own. */
  readonly webhooks?: readonly Webhook[] | undefined
}

export interface S3ServerParts {
  readonly namespace: NamespaceApi
  readonly users: UsersApi
  readonly keys: KeyRing
  readonly master: MasterApi
  readonly connect: ConnectVolume
  readonly tokens: ClientTokens | undefined
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Of whoever serves them. */
  readonly metrics?: Metrics | undefined
}

const DAY_MS = 86_400_000
export const CODED_POLICY = 'ec:4+2'
const CLOSE_MS = 10_000

/** S3 on the parts of a cluster, in this process or elsewhere; those stay the caller's. */
export class S3Server implements AsyncDisposable {
  /** Like `http://127.0.0.1:8333`; `https` with a certificate. */
  readonly url: string
  readonly #gateway: S3Gateway
  readonly #owned: DisposeStack

  private constructor(url: string, gateway: S3Gateway, owned: DisposeStack) {
    this.url = url
    this.#gateway = gateway
    this.#owned = owned
  }

  /** @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID; LISTEN_FAILED: the port is taken. */
  static async open(parts: S3ServerParts, options: S3Options): Promise<S3Server> {
    const { clock, logger, master, random, users } = parts
    await using opening = new DisposeStack()
    const closing = new AbortController()
    opening.defer(async () => {
      closing.abort(new StoreError('CLOSED', 'the S3 gateway was closed'))
    })
    const signal = closing.signal
    const coded = new CodedPolicy(
      { master, clock, closing: signal },
      options.codedPolicy ?? CODED_POLICY,
    )
    const client = opening.use(HayloftClient.over(parts, { collection: COPIED_COLLECTION }))
    const { hashThreads: count = 0 } = options
    const served = {
      namespace: parts.namespace,
      client,
      keys: parts.keys,
      users: new CachedUsers({ users, clock, closing: signal }),
      codedPolicy: () => coded.current(),
      clock,
      random,
      logger,
      closing: signal,
      hashThreads: count > 0 ? opening.use(new HashThreads({ logger }, { count })) : undefined,
    }
    const { dayMs = DAY_MS } = options
    const { webhooks = [] } = options
    const certificate = await options.certificate?.read()
    const gateway = opening.use(
      await S3Gateway.open(served, {
        host: options.host,
        port: options.port,
        region: options.region,
        domains: (options.domains ?? []).map((domain) => domain.toLowerCase()),
        isV2Allowed: options.isV2Allowed === true,
        dayMs,
        trustedProxies: (options.trustedProxies ?? []).map(readProxy),
        certificate,
        webhooks: new Set(webhooks.map(({ name }) => name)),
      }),
    )
    if (certificate !== undefined && options.certificate !== undefined) {
      const { certificate: source } = options
      const use = (renewed: ServerCertificate) => gateway.useCertificate(renewed)
      opening.use(new CertificateRenewal({ clock, logger, source, use }, certificate)).start()
    }
    if (options.runsLifecycle !== false) {
      const copiedVolumes = () => coded.copiedVolumes()
      opening.use(new LifecycleRunner({ ...served, copiedVolumes }, { dayMs })).start()
      const { orphans = { everyMs: DAY_MS } } = options
      if (orphans !== 'off') opening.use(orphanRunner(parts, client, orphans)).start()
    }
    if (webhooks.length > 0) {
      const region = options.region ?? DEFAULT_REGION
      opening.use(new EventDeliverer(served, { webhooks, region })).start()
    }
    const { host, port } = gateway.address
    const scheme = certificate === undefined ? 'http' : 'https'
    const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
    logger.info('s3.open', { url })
    return new S3Server(url, gateway, opening.move())
  }

  /** Lets requests under way finish, within a time. */
  async close(): Promise<void> {
    await this.#gateway.close(CLOSE_MS)
    await this.#owned[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function orphanRunner(
  parts: S3ServerParts,
  client: HayloftClient,
  config: OrphanRunnerConfig,
): OrphanRunner {
  const { tokens = NO_TOKENS } = parts
  return new OrphanRunner({ ...parts, client, tokens }, config)
}

/** @throws {StoreError} CONFIG_INVALID */
function readProxy(text: string): IpRange {
  const range = parseIpRange(text)
  if (range !== undefined) return range
  const why = `the trusted proxy ${quote(text)} is neither an address nor a CIDR block`
  throw new StoreError('CONFIG_INVALID', why)
}

/** Keys in this process: a change counts at once. */
export function localKeys(users: UsersApi): KeyRing {
  const never = new AbortController().signal
  return { findKey: (accessKeyId) => users.findKey(accessKeyId, never) }
}
