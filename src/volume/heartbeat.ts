import type { VolumeId } from '../base/ids.ts'
import { isStoreError } from '../base/store-error.ts'
import type {
  Heartbeat,
  HeartbeatAnswer,
  MasterApi,
  NodeLocation,
  VolumeReport,
} from '../net/master-api.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { EpochFile } from './epoch-file.ts'
import type { VolumeReports } from './volume-report.ts'
import { Wakeup } from './wakeup.ts'

export interface HeartbeatParts {
  readonly master: MasterApi
  /** For the log. */
  readonly masterName: string
  readonly reports: VolumeReports
  readonly epochs: EpochFile
  readonly directories: Directories
  readonly clock: Clock
  readonly logger: Logger
  readonly random: Random
  readonly location: () => NodeLocation
  readonly inFlightCount: () => number
}

/** The directories of this server, as far as it matters whose volumes they hold. */
export interface Directories {
  readonly locations: readonly { readonly clusterId: string }[]
  /** Those without a cluster belong to this one from now on, durably; others get no volumes. */
  claim(clusterId: string): Promise<unknown>
}

const INTERVAL_FIRST_MS = 5_000
const INTERVAL_MIN_MS = 20
const INTERVAL_MAX_MS = 60_000
/** What changes together is told together. */
const DEBOUNCE_MS = 50
const RETRY_FIRST_MS = 100
const RETRY_MAX_MS = 1_000
const MISSED_INTERVALS_MAX = 3

/**
 * Keeps one master informed: all there is when a stream begins, then what changed, in every
 * interval and soon after something important. A stream that breaks is begun anew.
 */
export class HeartbeatLink implements AsyncDisposable {
  readonly #parts: HeartbeatParts
  readonly #wakeup: Wakeup
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  /** As last told on the present stream, as text to compare with. */
  #told = new Map<VolumeId, string>()
  /** The same for shards, by run and directory. */
  #toldShards = new Map<string, { readonly report: ShardReport; readonly text: string }>()
  #intervalMs = INTERVAL_FIRST_MS
  #heardFromLeaderMs = Number.NEGATIVE_INFINITY
  #isLeaving = false
  #isConnected = false
  #isForeign = false

  constructor(parts: HeartbeatParts) {
    this.#parts = parts
    this.#wakeup = new Wakeup(parts.clock)
    this.#running = this.#run()
  }

  /** This master leads, and has answered within the last three intervals. */
  get isHeardByLeader(): boolean {
    const silentMs = this.#parts.clock.monotonicMs() - this.#heardFromLeaderMs
    return silentMs <= MISSED_INTERVALS_MAX * this.#intervalMs
  }

  /** Something changed that the master should hear of now. */
  nudge(): void {
    this.#wakeup.wake()
  }

  /** Tells the master that this server leaves, and ends the stream, within `deadlineMs`. */
  async leave(deadlineMs: number): Promise<void> {
    this.#isLeaving = true
    this.#wakeup.wake()
    using _deadline = this.#parts.clock.after(deadlineMs, () => this.#stop.abort())
    if (!this.#isConnected) this.#stop.abort()
    await this.#running
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#parts
    const { signal } = this.#stop
    let delayMs = RETRY_FIRST_MS
    while (!signal.aborted && !this.#isLeaving) {
      const wasHeard = await this.#connect(signal)
      if (signal.aborted || this.#isLeaving) return
      delayMs = wasHeard ? RETRY_FIRST_MS : Math.min(delayMs * 2, RETRY_MAX_MS)
      // Not all servers at once, when a master comes back.
      const jitterMs = Math.floor((delayMs / 2) * (random.u32() / 2 ** 32))
      await clock.sleep(delayMs + jitterMs, signal).catch(() => 'the loop ends')
    }
  }

  /** One stream, to its end. True when the master answered on it. */
  async #connect(signal: AbortSignal): Promise<boolean> {
    const { master, masterName, logger } = this.#parts
    // Ends the sending side when the answers end, however they do.
    const stream = new AbortController()
    const both = AbortSignal.any([signal, stream.signal])
    let wasHeard = false
    try {
      for await (const answer of master.heartbeat(this.#beats(both), both)) {
        if (!wasHeard) logger.info('heartbeat.connected', { master: masterName })
        wasHeard = true
        this.#isConnected = true
        await this.#onAnswer(answer)
      }
    } catch (error) {
      if (!isStoreError(error)) logger.error('heartbeat.failed', { master: masterName, error })
      else if (!signal.aborted) this.#logEnd(error, wasHeard)
    } finally {
      this.#isConnected = false
      stream.abort()
    }
    return wasHeard
  }

  /** Once for each connection: a master that is down would fill the log. */
  #logEnd(error: Error, wasHeard: boolean): void {
    const { masterName: master, logger } = this.#parts
    const fields = { master, error: error.message }
    if (wasHeard) logger.warn('heartbeat.lost', fields)
    else logger.debug('heartbeat.refused', fields)
  }

  async *#beats(signal: AbortSignal): AsyncGenerator<Heartbeat, void, undefined> {
    this.#told = new Map()
    this.#toldShards = new Map()
    let isFull = true
    while (!signal.aborted) {
      const beat = this.#beat(isFull)
      yield beat
      if (beat.isLeaving) return
      isFull = false
      const isNudged = await this.#wakeup.sleep(this.#intervalMs, signal)
      if (isNudged && !this.#isLeaving) await this.#wakeup.pause(DEBOUNCE_MS, signal)
    }
  }

  #beat(isFull: boolean): Heartbeat {
    const { reports, epochs } = this.#parts
    const all = reports.all()
    const volumes = all.filter((report) => this.#isNews(report))
    const ids = new Set(all.map(({ volumeId }) => volumeId))
    const removedVolumeIds = [...this.#told.keys()].filter((volumeId) => !ids.has(volumeId))
    for (const volumeId of removedVolumeIds) this.#told.delete(volumeId)
    return {
      node: this.#parts.location(),
      isFull,
      volumes,
      removedVolumeIds,
      shards: this.#shardNews(),
      disks: reports.disks(),
      highestNeedleId: reports.highestNeedleId(),
      inFlightCount: this.#parts.inFlightCount(),
      epoch: epochs.highest,
      isLeaving: this.#isLeaving,
    }
  }

  #isNews(report: VolumeReport): boolean {
    const text = JSON.stringify(report)
    if (this.#told.get(report.volumeId) === text) return false
    this.#told.set(report.volumeId, text)
    return true
  }

  /** What is new of shards; of a set that has gone, that nothing is left of it. */
  #shardNews(): ShardReport[] {
    const told = this.#toldShards
    const now = new Map<string, { readonly report: ShardReport; readonly text: string }>()
    for (const report of this.#parts.reports.shards()) {
      const { volumeId, runId, directoryId } = report
      now.set(`${volumeId} ${runId} ${directoryId}`, { report, text: JSON.stringify(report) })
    }
    this.#toldShards = now
    const changed = [...now].filter(([key, { text }]) => told.get(key)?.text !== text)
    const gone = [...told].filter(([key]) => !now.has(key))
    return [
      ...changed.map(([, { report }]) => report),
      ...gone.map(([, { report }]) => ({ ...report, shards: [], badShards: [] })),
    ]
  }

  async #onAnswer(answer: HeartbeatAnswer): Promise<void> {
    const { clock, epochs, logger, masterName: master } = this.#parts
    const { intervalMs, isLeader, epoch } = answer
    if (intervalMs >= INTERVAL_MIN_MS && intervalMs <= INTERVAL_MAX_MS) {
      this.#intervalMs = intervalMs
    }
    if (!isLeader) return
    try {
      if (!(await this.#belongTo(answer.clusterId))) return
      await epochs.obey(epoch)
      this.#heardFromLeaderMs = clock.monotonicMs()
    } catch (error) {
      if (!isStoreError(error)) throw error
      logger.warn('heartbeat.epoch_refused', { master, epoch, error: error.message })
    }
  }

  /** False: every directory here holds volumes of another cluster. */
  async #belongTo(clusterId: string): Promise<boolean> {
    const { directories, epochs, logger, masterName: master } = this.#parts
    const { locations } = directories
    if (clusterId === '') return true
    const isForeign = locations.every((location) => !['', clusterId].includes(location.clusterId))
    if (isForeign && !this.#isForeign) {
      const ids = locations.map((location) => location.clusterId).join(', ')
      const error = `all directories belong to another cluster (${ids}), not to ${clusterId}`
      logger.error('heartbeat.directories_foreign', { master, error })
      epochs.refuseAll(error)
    } else if (!isForeign && this.#isForeign) {
      epochs.refuseAll(undefined)
    }
    this.#isForeign = isForeign
    if (isForeign) return false
    // Every time: it also tells the store which directories are foreign, and costs nothing then.
    await directories.claim(clusterId)
    return true
  }
}
