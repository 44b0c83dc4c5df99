import { StoreError } from '../base/store-error.ts'
import type { WriteIntentsApi } from '../namespace/write-intents-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { drawBytes, type Random } from '../runtime/random.ts'

export interface GatewaySessionParts {
  readonly namespace: Pick<
    WriteIntentsApi,
    'renewSession' | 'endSession' | 'putIntent' | 'undoIntent'
  >
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface IntentOwner {
  /** Of the version that is to be. */
  readonly id: string
  readonly bucket: string
  readonly key: string
}

const RENEW_MS = 1000
const END_MS = 2000
const LEFT_RETRY_MS = 1000
/** What is above is cleared away when the session has ended. */
const LEFT_MAX = 10_000
const SESSION_BYTES = 16

/**
 * A gateway's word that it is alive. While it gives it every second, nobody touches its writes;
 * when it falls silent, what they left behind is cleared away.
 */
export class GatewaySession implements AsyncDisposable {
  readonly #parts: GatewaySessionParts
  readonly #id: string
  readonly #closing = new AbortController()
  readonly #running: Promise<unknown>
  /** The masters know of it. */
  readonly #isKnown: Promise<void>
  /** Ids of writes that have ended, as far as they are to be given up yet. */
  readonly #left = new Set<string>()

  constructor(parts: GatewaySessionParts) {
    this.#parts = parts
    this.#id = drawBytes(parts.random, SESSION_BYTES).toString('hex')
    let resolve = () => {}
    this.#isKnown = new Promise((done) => {
      resolve = done
    })
    this.#running = Promise.all([this.#run(resolve), this.#clear()])
  }

  /** An intent to write needles for one version. Nothing is durable before it names some. */
  begin(owner: IntentOwner): IntentHandle {
    return new IntentHandle(this.#parts, owner, {
      session: this.#id,
      isKnown: this.#isKnown,
      closing: this.#closing.signal,
      leave: (id) => {
        if (this.#left.size < LEFT_MAX) this.#left.add(id)
      },
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new StoreError('CLOSED', 'the gateway was closed'))
    await this.#running
    const { clock, logger, namespace } = this.#parts
    const ending = new AbortController()
    using _timer = clock.after(END_MS, () => ending.abort())
    try {
      await namespace.endSession(this.#id, ending.signal)
    } catch (error) {
      // It ends by itself when it is not renewed.
      logger.debug('gateway.session_not_ended', { error })
    }
  }

  async #run(onKnown: () => void): Promise<void> {
    const { clock, logger, namespace } = this.#parts
    const { signal } = this.#closing
    let isWell = true
    while (!signal.aborted) {
      try {
        await namespace.renewSession(this.#id, signal)
        onKnown()
        if (!isWell) logger.info('gateway.session_renewed')
        isWell = true
      } catch (error) {
        if (signal.aborted) break
        if (isWell) logger.warn('gateway.session_not_renewed', { error })
        isWell = false
      }
      await clock.sleep(RENEW_MS, signal).catch(() => undefined)
    }
    onKnown()
  }

  /** Apart from the renewing, which must not wait for it. */
  async #clear(): Promise<void> {
    const { clock, logger, namespace } = this.#parts
    const { signal } = this.#closing
    while (!signal.aborted) {
      await clock.sleep(LEFT_RETRY_MS, signal).catch(() => undefined)
      try {
        for (const id of this.#left) {
          if (signal.aborted) return
          await namespace.undoIntent({ id, isOnlyIfOrphaned: false }, signal)
          this.#left.delete(id)
        }
      } catch (error) {
        logger.debug('gateway.intents_left', { count: this.#left.size, error })
      }
    }
  }
}

interface IntentTerms {
  readonly session: string
  readonly isKnown: Promise<void>
  readonly closing: AbortSignal
  readonly leave: (id: string) => void
}

/** The intent of one write. */
export class IntentHandle {
  readonly id: string
  readonly #parts: GatewaySessionParts
  readonly #owner: IntentOwner
  readonly #terms: IntentTerms
  #isBegun = false
  #last: Promise<void> = Promise.resolve()

  constructor(parts: GatewaySessionParts, owner: IntentOwner, terms: IntentTerms) {
    this.id = owner.id
    this.#parts = parts
    this.#owner = owner
    this.#terms = terms
  }

  /** It is durable that files are about to be stored. */
  get isBegun(): boolean {
    return this.#isBegun
  }

  /**
   * These files are about to be stored: durable when it returns.
   *
   * @throws {StoreError} INTENT_LOST: the write was given up meanwhile. Those of the namespace.
   */
  readonly planned = (fileIds: readonly string[]): Promise<void> => {
    const named = this.#last.then(() => this.#name(fileIds))
    // It is told to whoever named these files; the next call begins anew.
    this.#last = named.catch(() => undefined)
    return named
  }

  /** Nothing of it stays; at the latest when the masters can be reached again. */
  async undo(): Promise<void> {
    await this.#last
    const { logger, namespace } = this.#parts
    const { closing } = this.#terms
    try {
      await namespace.undoIntent({ id: this.id, isOnlyIfOrphaned: false }, closing)
    } catch (error) {
      this.leave()
      logger.warn('gateway.intent_left', { id: this.id, error })
    }
  }

  /**
   * Nobody knows whether the change that would have named the files happened. If it did, the intent
   * went with it; otherwise it is undone soon, and the change cannot happen any more.
   */
  leave(): void {
    this.#terms.leave(this.id)
  }

  async #name(fileIds: readonly string[]): Promise<void> {
    const { closing, isKnown, session } = this.#terms
    // Before, it would look like one of a gateway that is gone.
    await isKnown
    const request = { ...this.#owner, session, fileIds, isMore: this.#isBegun }
    try {
      await this.#parts.namespace.putIntent(request, closing)
    } catch (error) {
      // It may be there all the same.
      this.leave()
      throw error
    }
    this.#isBegun = true
  }
}
