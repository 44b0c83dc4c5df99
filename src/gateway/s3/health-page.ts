import { withinTime } from '../../client/within-time.ts'
import { S3Error } from './s3-error.ts'
import type { S3Parts } from './s3-parts.ts'
import type { S3Reply } from './s3-reply.ts'
import type { S3Request } from './s3-request.ts'

/** No name of a bucket begins with `_`, so it hides nobody's object. */
export const HEALTH_PATH = '/_hayloft/health'

/** Load balancers give up after two seconds or more. */
const CHECK_MS = 1500
/** Asking more often, whoever does it, costs the namespace nothing. */
const KEPT_MS = 1000

const HEALTHY: S3Reply = {
  status: 200,
  headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' },
  body: 'ok\n',
}

interface Check {
  readonly beganAtMs: number
  readonly isReachable: Promise<boolean>
}

/** In the style with buckets in host names the same path is a key like any other. */
export function isHealthRequest({ bucket, method, rawPath }: S3Request): boolean {
  if (rawPath !== HEALTH_PATH || bucket !== '_hayloft') return false
  return method === 'GET' || method === 'HEAD'
}

/**
 * Tells load balancers, which have no key, whether requests can be answered here: whether the
 * namespace is in reach. It is asked at most once a second, however many want to know.
 */
export class HealthPage {
  readonly #parts: Pick<S3Parts, 'namespace' | 'clock' | 'logger' | 'closing'>
  #last: Check | undefined
  #wasReachable = true

  constructor(parts: Pick<S3Parts, 'namespace' | 'clock' | 'logger' | 'closing'>) {
    this.#parts = parts
  }

  /** @throws {S3Error} ServiceUnavailable: the namespace did not answer in time. */
  async answer(): Promise<S3Reply> {
    const nowMs = this.#parts.clock.monotonicMs()
    if (this.#last === undefined || nowMs - this.#last.beganAtMs >= KEPT_MS) {
      this.#last = { beganAtMs: nowMs, isReachable: this.#check() }
    }
    if (await this.#last.isReachable) return HEALTHY
    throw new S3Error('ServiceUnavailable')
  }

  async #check(): Promise<boolean> {
    const { clock, closing, logger, namespace } = this.#parts
    const request = { ownerId: undefined, prefix: '', after: '', limit: 1 }
    const list = (signal: AbortSignal) => namespace.listBuckets(request, signal)
    try {
      await withinTime(clock, { ms: CHECK_MS, what: 'listing a bucket' }, list, closing)
      if (!this.#wasReachable) logger.info('s3.namespace_reachable')
      this.#wasReachable = true
    } catch (error) {
      if (this.#wasReachable) logger.warn('s3.namespace_unreachable', { error })
      this.#wasReachable = false
    }
    return this.#wasReachable
  }
}
