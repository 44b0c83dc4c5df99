import { StoreError } from '../base/store-error.ts'
import type { ClientTokens } from '../client/file-tokens.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import type { KeyRing } from '../gateway/s3/auth/identity.ts'
import { CachedUsers } from '../gateway/s3/cached-users.ts'
import { CodedPolicy } from '../gateway/s3/coded-policy.ts'
import { LifecycleRunner } from '../gateway/s3/lifecycle-runner.ts'
import { S3Gateway } from '../gateway/s3/s3-gateway.ts'
import { COPIED_COLLECTION } from '../gateway/s3/stored-bytes.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { UsersApi } from '../net/users-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'

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
}

const DAY_MS = 86_400_000
export const CODED_POLICY = 'ec:4+2'
const CLOSE_MS = 10_000

/** S3 on the parts of a cluster, in this process or elsewhere; those stay the caller's. */
export class S3Server implements AsyncDisposable {
  /** Like `http://127.0.0.1:8333`. */
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
    }
    const dayMs = options.dayMs ?? DAY_MS
    const gateway = opening.use(
      await S3Gateway.open(served, {
        host: options.host,
        port: options.port,
        region: options.region,
        domains: (options.domains ?? []).map((domain) => domain.toLowerCase()),
        isV2Allowed: options.isV2Allowed === true,
        dayMs,
      }),
    )
    if (options.runsLifecycle !== false) {
      opening.use(new LifecycleRunner(served, { dayMs })).start()
    }
    const { host, port } = gateway.address
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`
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

/** Keys in this process: a change counts at once. */
export function localKeys(users: UsersApi): KeyRing {
  const never = new AbortController().signal
  return { findKey: (accessKeyId) => users.findKey(accessKeyId, never) }
}
