import { quote, StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { Heartbeat, HeartbeatAnswer, NodeLocation } from '../net/master-api.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { BrokenLinks } from './broken-links.ts'
import type { ClusterState } from './cluster-state.ts'
import type { GrowthAhead } from './growth-ahead.ts'
import type { KnownNodes } from './known-nodes.ts'
import type { NodeStandings } from './node-standings.ts'
import type { Sequencer } from './sequencer.ts'
import type { NodeState } from './topology.ts'
import type { VolumeSets } from './volume-sets.ts'
import type { WarmUp } from './warm-up.ts'

export interface MembershipParts {
  readonly state: ClusterState
  readonly known: KnownNodes
  readonly standings: NodeStandings
  readonly links: Pick<BrokenLinks, 'onJoined'>
  readonly sets: Pick<VolumeSets, 'dropMembersOf' | 'memberUrls'>
  readonly sequencer: Pick<Sequencer, 'noteReported'>
  readonly warmUp: Pick<WarmUp, 'onFullHeartbeat' | 'isWarming'>
  readonly ahead: Pick<GrowthAhead, 'onServersChanged'>
  readonly coordinator: Pick<Coordinator, 'isLeader' | 'leader' | 'epoch' | 'clusterId'>
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
  readonly repair: {
    /** More servers than this share down at once, two at least: something else is wrong. */
    readonly massShare: number
  }
}

/** A server of the cluster: heard of since the start, or known from before. */
export interface NodeStanding {
  readonly location: NodeLocation
  readonly state: NodeState
  /** By the wall clock; 0: it is not down. */
  readonly downSinceMs: number
  readonly downForMs: number
  readonly isFlapping: boolean
  readonly isDraining: boolean
  /** Copies that count are there, or were when it was heard of last. */
  readonly hasMembers: boolean
}

/** A single server that is down is no sign of anything else. */
const MASS_MIN = 2

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
  readonly #aheadOfUs = new Set<string>()
  #forgetAtMs = 0

  constructor(parts: MembershipParts, config: MembershipConfig) {
    this.#parts = parts
    this.#config = config
  }

  get sessionCount(): number {
    return this.#sessions.size
  }

  /** Servers known from before that have not been heard of since the start are down. */
  nodes(): NodeStanding[] {
    const { state, known, standings, sets } = this.#parts
    const withMembers = sets.memberUrls()
    const found = new Map<string, { location: NodeLocation; state: NodeState }>()
    for (const url of known.urls) {
      found.set(url, { location: known.location(url) ?? unplaced(url), state: 'down' })
    }
    for (const { location, state: is } of state.topology.nodes) {
      found.set(location.url, { location, state: is })
    }
    return Array.from(found, ([url, node]) => ({
      ...node,
      downSinceMs: node.state === 'down' ? standings.downSinceMs(url) : 0,
      downForMs: node.state === 'down' ? standings.downForMs(url) : 0,
      isFlapping: standings.isFlapping(url),
      isDraining: standings.isDraining(url),
      hasMembers: withMembers.has(url),
    }))
  }

  /**
   * So many servers that should have copies are down at once that the fault is not theirs: copying
   * what they have would fill the others, and help nobody. Who is down is not known before the end
   * of the warm-up.
   */
  isMassGone(): boolean {
    if (this.#parts.warmUp.isWarming) return false
    const nodes = this.nodes()
    const gone = nodes.filter((node) => node.state === 'down' && node.hasMembers).length
    return gone >= MASS_MIN && gone > nodes.length * this.#config.repair.massShare
  }

  /** Servers that have obeyed a higher epoch than ours, by url. */
  get aheadOfUs(): ReadonlySet<string> {
    return this.#aheadOfUs
  }

  /**
   * The server will not come back: its copies are lost from now on. Durable when it returns.
   *
   * @throws {StoreError} NODE_NOT_FOUND; REQUEST_INVALID: it is up. The errors of the store.
   */
  async forgetNode(url: string, signal: AbortSignal): Promise<void> {
    const { state, known, standings, logger } = this.#parts
    const node = state.topology.node(url)
    if (node === undefined && !known.has(url)) {
      throw new StoreError('NODE_NOT_FOUND', `no volume server ${quote(url)} is known`)
    }
    if (node !== undefined && node.state !== 'down') {
      throw new StoreError('REQUEST_INVALID', `${url} is up; evacuate it, and stop it then`)
    }
    logger.warn('master.node_forgotten', { url, volumes: node?.volumes.size ?? 0 })
    await this.#forget(url, signal)
    if (standings.isDraining(url)) await standings.setDraining(url, false, signal)
  }

  /**
   * If the server is down, what it held counts as lost from now on, until it is back.
   *
   * @throws {StoreError} NODE_NOT_FOUND.
   */
  giveUp(url: string): void {
    const { state, known, standings, logger } = this.#parts
    if (state.topology.node(url) === undefined && !known.has(url)) {
      throw new StoreError('NODE_NOT_FOUND', `no volume server ${quote(url)} is known`)
    }
    const isDown = (state.topology.node(url)?.state ?? 'down') === 'down'
    if (!isDown) return
    logger.warn('master.node_given_up', { url })
    standings.giveUp(url)
  }

  /** Being emptied, a server is given nothing new. Durable when it returns. */
  async setDraining(url: string, isDraining: boolean, signal: AbortSignal): Promise<void> {
    const { state, known, standings } = this.#parts
    if (state.topology.node(url) === undefined && !known.has(url)) {
      throw new StoreError('NODE_NOT_FOUND', `no volume server ${quote(url)} is known`)
    }
    await standings.setDraining(url, isDraining, signal)
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
      await this.#remember(beat.node, signal)
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
    await this.#remember(beat.node, signal)
    if (clock.monotonicMs() >= this.#forgetAtMs) await this.#forgetLongGone(signal)
  }

  /** A server is no less there because the master's disk is full. */
  async #remember(location: NodeLocation, signal: AbortSignal): Promise<void> {
    try {
      await this.#parts.known.note(location, signal)
    } catch (error) {
      if (signal.aborted) return
      this.#parts.logger.error('master.node_not_remembered', { url: location.url, error })
    }
  }

  /** What was on a server that has been down for so long must not come back with it. */
  async #forgetLongGone(signal: AbortSignal): Promise<void> {
    const { state, known, warmUp, clock, logger, closing } = this.#parts
    if (warmUp.isWarming) return
    this.#forgetAtMs = clock.monotonicMs() + FORGET_EVERY_MS
    try {
      const lastHeard = new Map<string, number>()
      for (const url of known.urls) lastHeard.set(url, known.lastHeardMs(url))
      for (const node of state.topology.nodes) {
        if (node.state === 'down') lastHeard.set(node.location.url, node.lastHeardMs)
        else lastHeard.delete(node.location.url)
      }
      for (const [url, lastHeardMs] of lastHeard) {
        const goneMs = clock.nowMs() - lastHeardMs
        if (goneMs <= this.#config.forgetNodeMs) continue
        logger.warn('master.node_forgotten', { url, goneMs })
        await this.#forget(url, closing)
      }
      await this.#dropForgotten(closing)
    } catch (error) {
      if (!signal.aborted && !closing.aborted) logger.error('master.forget_failed', { error })
    }
  }

  async #forget(url: string, signal: AbortSignal): Promise<void> {
    const { state, known, standings } = this.#parts
    // First, so that a crash on the way leaves a server to be forgotten, not half of one.
    await known.forget(url, signal)
    standings.forget(url)
    state.forgetNode(url)
    await this.#dropForgotten(signal)
  }

  /** Also of servers that were forgotten when theirs was the only copy left. */
  async #dropForgotten(signal: AbortSignal): Promise<void> {
    const { state, known, sets, logger } = this.#parts
    const isForgotten = (url: string) => state.topology.node(url) === undefined && !known.has(url)
    const count = await sets.dropMembersOf(isForgotten, signal)
    if (count > 0) logger.warn('master.members_forgotten', { volumes: count })
  }

  #join(session: Session, beat: Heartbeat): void {
    const { logger, state, standings, links } = this.#parts
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
    standings.onUp(url)
    links.onJoined(url)
    const fields = { url, dataCenter, rack, volumes: beat.volumes.length }
    logger.info(isKnown ? 'master.node_rejoined' : 'master.node_joined', fields)
  }

  #leave(session: Session): void {
    const { url } = session
    if (url === undefined || this.#sessions.get(url) !== session) return
    this.#sessions.delete(url)
    const wasLeaving = this.#parts.state.topology.node(url)?.state === 'leaving'
    this.#parts.standings.onDown(url, wasLeaving)
    this.#parts.state.markDown(url)
    const fields = { url, reason: session.reason, wasLeaving }
    if (wasLeaving) this.#parts.logger.info('master.node_left', fields)
    else this.#parts.logger.warn('master.node_down', fields)
  }

  #checkEpoch(beat: Heartbeat): void {
    const { coordinator, logger } = this.#parts
    if (beat.epoch <= coordinator.epoch) {
      this.#aheadOfUs.delete(beat.node.url)
      return
    }
    this.#aheadOfUs.add(beat.node.url)
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
      clusterId: isLeader ? coordinator.clusterId : '',
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

/** Known from before, by a version that kept no more than its name. */
function unplaced(url: string): NodeLocation {
  return { url, publicUrl: url, grpcAddress: '', dataCenter: '', rack: '' }
}
