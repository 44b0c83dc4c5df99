import { StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { Heartbeat, HeartbeatAnswer } from '../net/master-api.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { ClusterState } from './cluster-state.ts'
import type { GrowthAhead } from './growth-ahead.ts'
import type { KnownNodes } from './known-nodes.ts'
import type { Sequencer } from './sequencer.ts'
import type { WarmUp } from './warm-up.ts'

export interface MembershipParts {
  readonly state: ClusterState
  readonly known: KnownNodes
  readonly sequencer: Pick<Sequencer, 'noteReported'>
  readonly warmUp: Pick<WarmUp, 'onFullHeartbeat'>
  readonly ahead: Pick<GrowthAhead, 'onServersChanged'>
  readonly coordinator: Pick<Coordinator, 'isLeader' | 'leader' | 'epoch'>
  readonly clock: Clock
  readonly logger: Logger
  /** Ends all sessions: the master is closing. */
  readonly closing: AbortSignal
}

export interface MembershipConfig {
  readonly heartbeatMs: number
  readonly volumeSizeMaxBytes: number
  /** A server that is down for longer is not one of the cluster any more. */
  readonly forgetNodeMs: number
}

const FORGET_EVERY_MS = 3_600_000

/** Heartbeats that may be missing before a server counts as down. */
const MISSED_MAX = 3

type SessionEnd = 'closed' | 'silent' | 'replaced' | 'cancelled'

/**
 * Sessions of volume servers: a stream of heartbeats each. A server is up while its session lives;
 * when the stream ends, or says nothing for three intervals, it is down: its volumes are out of
 * reach, not lost, and come back with it. One session for each url: a newer one replaces an older.
 */
export class Membership {
  readonly #parts: MembershipParts
  readonly #config: MembershipConfig
  readonly #sessions = new Map<string, Session>()
  #forgetAtMs = 0

  constructor(parts: MembershipParts, config: MembershipConfig) {
    this.#parts = parts
    this.#config = config
  }

  get sessionCount(): number {
    return this.#sessions.size
  }

  /**
   * One answer for each heartbeat, after it took effect.
   *
   * @throws {StoreError} REQUEST_INVALID: the first heartbeat is not full, or the server changes
   * its name. OVERLOADED: too many servers. UNAVAILABLE: the master is closing.
   */
  async *heartbeat(
    beats: AsyncIterable<Heartbeat>,
    signal: AbortSignal,
  ): AsyncGenerator<HeartbeatAnswer> {
    const { clock, closing } = this.#parts
    if (closing.aborted) throw new StoreError('UNAVAILABLE', 'this master is shutting down')
    const silentMs = this.#config.heartbeatMs * MISSED_MAX
    const session = new Session(clock, silentMs, () => this.#leave(session))
    const source = beats[Symbol.asyncIterator]()
    using _cancelled = onAbort(signal, () => session.end('cancelled'))
    using _closing = onAbort(closing, () => session.end('closed'))
    if (signal.aborted) session.end('cancelled')
    try {
      for (;;) {
        const next = await session.nextOr(source)
        if (next === undefined) return
        await this.#take(session, next, signal)
        // It may have been replaced while its row was written: then it has nothing to say.
        if (session.hasEnded) return
        yield this.#answer()
      }
    } finally {
      session.end('closed')
      // Not awaited: a source that waits for its next heartbeat returns only after it.
      source.return?.().then(undefined, () => undefined)
    }
  }

  async #take(session: Session, beat: Heartbeat, signal: AbortSignal): Promise<void> {
    const { state, sequencer, warmUp, ahead, clock } = this.#parts
    const { url } = beat.node
    if (session.url === undefined) {
      if (url === '' || !beat.isFull) {
        throw new StoreError('REQUEST_INVALID', 'the first heartbeat is full and names its server')
      }
      await this.#remember(url, signal)
      if (session.hasEnded) return
      this.#join(session, beat)
    } else if (session.url !== url) {
      throw new StoreError('REQUEST_INVALID', 'a volume server cannot change its name')
    }
    // An older session that was replaced must not overwrite what the newer one said.
    if (this.#sessions.get(url) !== session) return
    session.touch()
    this.#checkEpoch(beat)
    sequencer.noteReported(beat.highestNeedleId)
    state.applyHeartbeat(beat, clock.nowMs())
    if (beat.isFull) {
      warmUp.onFullHeartbeat(url)
      ahead.onServersChanged()
    }
    await this.#remember(url, signal)
    if (clock.monotonicMs() >= this.#forgetAtMs) await this.#forgetLongGone(signal)
  }

  /** A server is no less there because the master's disk is full. */
  async #remember(url: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#parts.known.note(url, signal)
    } catch (error) {
      if (signal.aborted) return
      this.#parts.logger.error('master.node_not_remembered', { url, error })
    }
  }

  /** What was on a server that has been down for so long must not come back with it. */
  async #forgetLongGone(signal: AbortSignal): Promise<void> {
    const { state, known, clock, logger } = this.#parts
    this.#forgetAtMs = clock.monotonicMs() + FORGET_EVERY_MS
    for (const node of [...state.topology.nodes]) {
      const { url } = node.location
      const goneMs = clock.nowMs() - node.lastHeardMs
      if (node.state !== 'down' || goneMs <= this.#config.forgetNodeMs) continue
      logger.warn('master.node_forgotten', { url, goneMs, volumes: node.volumes.size })
      state.forgetNode(url)
      await known.forget(url, signal)
    }
  }

  #join(session: Session, beat: Heartbeat): void {
    const { logger, state } = this.#parts
    const { url, dataCenter, rack } = beat.node
    const before = this.#sessions.get(url)
    const isKnown = state.topology.node(url) !== undefined
    session.url = url
    // First, so that the end of the older session does not count as the server's.
    this.#sessions.set(url, session)
    if (before !== undefined) {
      logger.warn('master.node_replaced', { url })
      before.end('replaced')
    }
    const fields = { url, dataCenter, rack, volumes: beat.volumes.length }
    logger.info(isKnown ? 'master.node_rejoined' : 'master.node_joined', fields)
  }

  #leave(session: Session): void {
    const { url } = session
    if (url === undefined || this.#sessions.get(url) !== session) return
    this.#sessions.delete(url)
    const wasLeaving = this.#parts.state.topology.node(url)?.state === 'leaving'
    this.#parts.state.markDown(url)
    const fields = { url, reason: session.reason, wasLeaving }
    if (wasLeaving) this.#parts.logger.info('master.node_left', fields)
    else this.#parts.logger.warn('master.node_down', fields)
  }

  #checkEpoch(beat: Heartbeat): void {
    const { coordinator, logger } = this.#parts
    if (beat.epoch <= coordinator.epoch) return
    // It obeys another master, or our metadata is older than what it has seen of us.
    logger.error('master.epoch_behind', {
      url: beat.node.url,
      epoch: coordinator.epoch,
      seenEpoch: beat.epoch,
    })
  }

  #answer(): HeartbeatAnswer {
    const { coordinator } = this.#parts
    const isLeader = coordinator.isLeader()
    return {
      isLeader,
      leader: coordinator.leader,
      epoch: isLeader ? coordinator.epoch : 0,
      intervalMs: this.#config.heartbeatMs,
      volumeSizeMaxBytes: this.#config.volumeSizeMaxBytes,
    }
  }
}

/** One stream, and when it has been silent for too long. */
class Session {
  url: string | undefined
  reason: SessionEnd | undefined
  readonly #clock: Clock
  readonly #silentMs: number
  readonly #ended: Promise<undefined>
  #resolveEnded: () => void = () => undefined
  #timer: Disposable
  readonly #onEnd: () => void

  /** `onEnd` runs once, at the moment of the end, wherever the stream stands. */
  constructor(clock: Clock, silentMs: number, onEnd: () => void) {
    this.#onEnd = onEnd
    this.#clock = clock
    this.#silentMs = silentMs
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = () => resolve(undefined)
    })
    this.#timer = clock.after(silentMs, () => this.end('silent'))
  }

  get hasEnded(): boolean {
    return this.reason !== undefined
  }

  touch(): void {
    if (this.hasEnded) return
    this.#timer[Symbol.dispose]()
    this.#timer = this.#clock.after(this.#silentMs, () => this.end('silent'))
  }

  end(reason: SessionEnd): void {
    if (this.hasEnded) return
    this.reason = reason
    this.#timer[Symbol.dispose]()
    this.#resolveEnded()
    this.#onEnd()
  }

  /** The next heartbeat; undefined when there is none, or the session has ended. */
  async nextOr(source: AsyncIterator<Heartbeat>): Promise<Heartbeat | undefined> {
    if (this.hasEnded) return undefined
    const next = source.next()
    next.catch(() => undefined) // Whoever loses the race may still fail.
    const result = await Promise.race([next, this.#ended])
    return result === undefined || result.done === true ? undefined : result.value
  }
}
