import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { NodeLocation, VolumeReport } from '../net/master-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedMutex } from '../runtime/keyed-mutex.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { type AssignedBytes, roomBytes } from './assigned-bytes.ts'
import type { BrokenLinks } from './broken-links.ts'
import type { ClusterState } from './cluster-state.ts'
import type { GrowthConfig } from './config.ts'
import { Deadline, orCancelled } from './deadline.ts'
import { GrowthRemains } from './growth-remains.ts'
import { ANYWHERE, formatLayoutKey, type LayoutKey, type PlaceFilter } from './layout-key.ts'
import { choosePlacement, type PlacementServer } from './placement.ts'
import { isMeant, type Steadiness, steadyFirst, takesVolumes } from './placement-servers.ts'
import type { NodeView } from './topology.ts'
import { VolumeIds } from './volume-ids.ts'
import { ALL_GRADES } from './volume-layout.ts'
import type { VolumeSets } from './volume-sets.ts'

export interface GrowthParts {
  readonly state: ClusterState
  readonly sets: Pick<VolumeSets, 'create' | 'forgetVolume'>
  readonly links: Pick<BrokenLinks, 'count' | 'isCut'>
  readonly coordinator: Pick<Coordinator, 'allocateBlock' | 'epoch'>
  readonly connect: ConnectVolume
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Ends what is under way: the master is closing. */
  readonly closing: AbortSignal
}

/** A server that failed to make a volume is asked last for this long. */
const SUSPECT_MS = 30_000
const SUSPECT_LOAD = 1_000_000

/**
 * Makes volumes. Each is made on all its servers or not at all, one at a time for each layout,
 * under an id that was durable as taken before any server heard of it. Nothing is assigned to a
 * volume until every copy was acknowledged and is durably a member; what is left of one that failed
 * is held back for ever, counts as deleted, and is removed when its servers can be reached.
 *
 * Servers that come and go too often are used only where there are not enough others, those that
 * are being emptied never. Servers that cannot reach each other do not come together.
 *
 * Work belongs to the cluster, not to the caller that asked first: callers stop waiting on their
 * own signal, and the volume is made nevertheless.
 */
export class Growth {
  readonly #parts: GrowthParts
  readonly #config: GrowthConfig
  readonly #volumeIds: VolumeIds
  readonly #running = new Map<string, Promise<VolumeId>>()
  readonly #locks = new KeyedMutex<string>({ waitersMax: LIMITS.growthWaitersMax.value })
  readonly #remains: GrowthRemains
  readonly #suspectUntilMs = new Map<string, number>()
  readonly #frozen = new Set<string>()

  constructor(parts: GrowthParts, config: GrowthConfig) {
    this.#parts = parts
    this.#config = config
    this.#volumeIds = new VolumeIds(parts.coordinator, parts.state.topology)
    this.#remains = new GrowthRemains(parts, { deleteMs: config.allocateMs })
  }

  get runningCount(): number {
    return this.#running.size
  }

  /** Volumes that failed to come to be and wait for their servers to be cleaned up. */
  get remainsCount(): number {
    return this.#remains.count
  }

  /** Writable volumes a layout should have ready: a few for each disk that can take some. */
  wantedCount(key: LayoutKey): number {
    const { writablePerDisk, writableMin, writableMax } = this.#config
    let diskCount = 0
    for (const node of this.#parts.state.topology.nodes) {
      if (!takesVolumes(this.#parts.state, node)) continue
      diskCount += node.disks.filter((disk) => this.#roomOf(disk) > 0).length
    }
    const wanted = Math.ceil((diskCount * writablePerDisk) / copyCount(key.replication))
    return Math.min(writableMax, Math.max(writableMin, wanted))
  }

  /**
   * Where the layout needs one more volume now; undefined: nowhere. Beside the number that is
   * wanted, every server with room should have one: a server that has just come is used at once,
   * not when the volumes of the others are full.
   */
  neededPlace(key: LayoutKey): PlaceFilter | undefined {
    const { topology } = this.#parts.state
    const layout = this.#parts.state.layout(key)
    const roomy = layout?.roomyVolumeCount(this.#config.crowdedShare) ?? 0
    const { writableMax, writablePerDisk } = this.#config
    // Those whose copies may differ count as well: a fault that spoils each must not make more.
    const there = layout?.candidatesOnReports(ANYWHERE, ALL_GRADES).length ?? 0
    if (there >= writableMax) return undefined
    if (roomy < this.wantedCount(key)) {
      // On servers that are spared another one would be no better than those there.
      return there === 0 || this.#isPossible(key, ANYWHERE) ? ANYWHERE : undefined
    }
    if (writablePerDisk === 0) return undefined
    const covered = layout?.writableCountByNode()
    for (const node of topology.nodes) {
      const { url } = node.location
      if (!takesVolumes(this.#parts.state, node) || covered?.has(url) === true) continue
      const place = { ...ANYWHERE, node: url }
      if (this.#isPossible(key, place)) return place
    }
    return undefined
  }

  /**
   * Waits until one more volume of the layout was made, by this call or one already under way,
   * which may have been made elsewhere than in `place`.
   *
   * @throws {StoreError} PLACEMENT_IMPOSSIBLE, NO_WRITABLE_VOLUME: no room; UNAVAILABLE: the
   * collection is being deleted, or the servers chosen did not answer. CANCELLED.
   */
  async one(key: LayoutKey, place: PlaceFilter, signal: AbortSignal): Promise<VolumeId> {
    const text = formatLayoutKey(key)
    const running = this.#running.get(text) ?? this.#start(text, key, place)
    return await orCancelled(running, signal)
  }

  /** As `one`, but always a volume of its own. */
  async another(key: LayoutKey, place: PlaceFilter, signal: AbortSignal): Promise<VolumeId> {
    const text = formatLayoutKey(key)
    using _turn = await this.#locks.acquire(text, signal)
    for (;;) {
      const running = this.#running.get(text)
      if (running === undefined) break
      await orCancelled(settled(running), signal)
    }
    return await orCancelled(this.#start(text, key, place), signal)
  }

  /**
   * Makes nothing for a collection until disposed. Returns when nothing of it is under way.
   *
   * @throws {StoreError} UNAVAILABLE: it is frozen already. CANCELLED.
   */
  async freeze(collection: string, signal: AbortSignal): Promise<Disposable> {
    this.checkNotFrozen(collection)
    this.#frozen.add(collection)
    try {
      const prefix = `${collection}/`
      for (const [text, running] of this.#running) {
        if (!text.startsWith(prefix)) continue
        await orCancelled(settled(running), signal)
      }
    } catch (error) {
      this.#frozen.delete(collection)
      throw error
    }
    return { [Symbol.dispose]: () => this.#frozen.delete(collection) }
  }

  /** @throws {StoreError} UNAVAILABLE */
  checkNotFrozen(collection: string): void {
    if (!this.#frozen.has(collection)) return
    throw new StoreError('UNAVAILABLE', `collection ${collection} is being deleted`)
  }

  /**
   * Says why no volume can be made now, if none can.
   *
   * @throws {StoreError} PLACEMENT_IMPOSSIBLE, NO_WRITABLE_VOLUME: no room; UNAVAILABLE: the
   * collection is being deleted.
   */
  checkPossible(key: LayoutKey, place: PlaceFilter): void {
    this.checkNotFrozen(key.collection)
    this.#choose(key, place, new Set())
  }

  /** On servers that need not be spared. */
  #isPossible(key: LayoutKey, place: PlaceFilter): boolean {
    try {
      this.checkNotFrozen(key.collection)
      this.#chooseAmong(this.#servers(key, new Set(), 'steady'), key, place)
      return true
    } catch (error) {
      if (isStoreError(error)) return false
      throw error
    }
  }

  /** Begins to remove, in the background, what failed volumes left on servers that are up. */
  startCleaning(): void {
    this.#remains.startCleaning()
  }

  /** Resolves when nothing is under way any more. Abort `closing` first. */
  async drain(): Promise<void> {
    await Promise.allSettled(this.#running.values())
    await this.#remains.drain()
  }

  #start(text: string, key: LayoutKey, place: PlaceFilter): Promise<VolumeId> {
    const running = this.#make(key, place).finally(() => this.#running.delete(text))
    this.#running.set(text, running)
    // Whoever waits sees the failure; nobody may be waiting any more.
    running.catch(() => undefined)
    return running
  }

  async #make(key: LayoutKey, place: PlaceFilter): Promise<VolumeId> {
    this.checkNotFrozen(key.collection)
    const { closing, clock, logger } = this.#parts
    const failed = new Set<string>()
    let failure: unknown
    for (let attempt = 1; ; attempt++) {
      if (closing.aborted) throw cancelledError(closing, 'before a volume was made')
      const chosen = this.#place(key, place, failed, failure)
      const id = await this.#volumeIds.next(closing)
      const failures = await this.#allocateAll(id, key, chosen)
      if (failures.size === 0) {
        logger.info('master.volume_made', {
          volumeId: id,
          layout: formatLayoutKey(key),
          servers: locationsOf(chosen).map((location) => location.url),
        })
        return id
      }
      const [error] = failures.values()
      failure = error
      logger.warn('master.volume_not_made', { volumeId: id, servers: [...failures.keys()], error })
      for (const url of failures.keys()) {
        failed.add(url)
        this.#suspectUntilMs.set(url, clock.monotonicMs() + SUSPECT_MS)
      }
      if (attempt === LIMITS.growthAttemptsMax.value) {
        throw new StoreError('UNAVAILABLE', `${attempt} tries to make a volume failed`, {
          cause: error,
        })
      }
    }
  }

  /** Without the servers that failed just now; when that cannot be, their failure is the reason. */
  #place(
    key: LayoutKey,
    place: PlaceFilter,
    failed: ReadonlySet<string>,
    failure: unknown,
  ): PlacementServer[] {
    try {
      return this.#choose(key, place, failed)
    } catch (error) {
      if (failed.size === 0) throw error
      const who = [...failed].slice(0, 5).join(', ')
      const message = `no volume could be made on ${who}, and there are not enough others`
      throw new StoreError('UNAVAILABLE', message, { cause: failure })
    }
  }

  #choose(key: LayoutKey, place: PlaceFilter, failed: ReadonlySet<string>): PlacementServer[] {
    return steadyFirst((steadiness) =>
      this.#chooseAmong(this.#servers(key, failed, steadiness), key, place),
    )
  }

  #chooseAmong(
    servers: readonly PlacementServer[],
    key: LayoutKey,
    place: PlaceFilter,
  ): PlacementServer[] {
    const { links, random } = this.#parts
    const isBroken = links.count === 0 ? undefined : (a: string, b: string) => links.isCut(a, b)
    return choosePlacement(servers, key.replication, place, random, isBroken)
  }

  /** What failed, by the url of the server. Empty: the volume is made, and can be assigned. */
  async #allocateAll(
    id: VolumeId,
    key: LayoutKey,
    chosen: readonly PlacementServer[],
  ): Promise<Map<string, unknown>> {
    const { state, clock, closing } = this.#parts
    const failures = new Map<string, unknown>()
    state.hold(id)
    {
      using deadline = new Deadline(clock, this.#config.allocateMs, closing)
      await Promise.all(
        chosen.map(async ({ location }) => {
          try {
            await deadline.race(this.#allocate(id, key, location, deadline.signal))
          } catch (error) {
            failures.set(location.url, error)
          }
        }),
      )
    }
    if (failures.size === 0) {
      try {
        await this.#parts.sets.create(id, key, locationsOf(chosen), closing)
      } catch (error) {
        await this.#giveUp(id, chosen)
        throw error
      }
    } else {
      await this.#giveUp(id, chosen)
      return failures
    }
    for (const { location } of chosen) state.addCopy(location.url, newReport(id, key))
    state.release(id)
    return failures
  }

  /**
   * Whatever there is of the volume must never be taken for one, not even by a master that starts
   * after us. It is removed in the background: a server that hangs must not keep the next try from
   * another one.
   */
  async #giveUp(id: VolumeId, chosen: readonly PlacementServer[]): Promise<void> {
    const { sets, closing, logger } = this.#parts
    this.#remains.add(id, locationsOf(chosen))
    this.#remains.startCleaning()
    try {
      await sets.forgetVolume(id, closing)
    } catch (error) {
      if (!closing.aborted) logger.warn('master.remains_not_noted', { volumeId: id, error })
    }
  }

  // Async, so that a `connect` that throws counts as a server that failed.
  async #allocate(
    id: VolumeId,
    key: LayoutKey,
    location: NodeLocation,
    signal: AbortSignal,
  ): Promise<void> {
    const { epoch } = this.#parts.coordinator
    const command = { epoch, volumeId: id, ...key }
    await this.#parts.connect(location).allocateVolume(command, signal)
  }

  #servers(key: LayoutKey, failed: ReadonlySet<string>, steadiness: Steadiness): PlacementServer[] {
    const { state } = this.#parts
    const counts = state.layout(key)?.writableCountByNode()
    const servers: PlacementServer[] = []
    for (const node of state.topology.nodes) {
      const { url } = node.location
      if (!isMeant(state, node, steadiness) || failed.has(url) || spoilsVolumes(node)) continue
      const disks = Math.max(1, node.disks.length)
      servers.push({
        location: node.location,
        roomBytes: this.#nodeRoom(node, state.assigned),
        load: Math.floor((counts?.get(url) ?? 0) / disks) + this.#suspicion(url),
      })
    }
    return servers
  }

  #suspicion(url: string): number {
    const untilMs = this.#suspectUntilMs.get(url)
    if (untilMs === undefined) return 0
    if (untilMs > this.#parts.clock.monotonicMs()) return SUSPECT_LOAD
    this.#suspectUntilMs.delete(url)
    return 0
  }

  #nodeRoom(node: NodeView, assigned: AssignedBytes): number {
    let room = 0
    for (const disk of node.disks) room += this.#roomOf(disk)
    return Math.max(0, room - assigned.ofNode(node.location.url))
  }

  /** A disk with less than `roomMinBytes` gets no new volume. */
  #roomOf(disk: NodeView['disks'][number]): number {
    const room = roomBytes(disk)
    return room >= this.#config.roomMinBytes ? room : 0
  }
}

function locationsOf(servers: readonly PlacementServer[]): NodeLocation[] {
  return servers.map((server) => server.location)
}

/** Volumes made there are no good: more of them would not be either. */
function spoilsVolumes(node: NodeView): boolean {
  let spoilt = 0
  for (const { state, liveNeedles } of node.volumes.values()) {
    if (liveNeedles === 0 && (state === 'failed' || state === 'damaged')) spoilt++
  }
  return spoilt >= LIMITS.spoiltVolumesMax.value
}

/** Resolves when the work is over, however it went. */
async function settled(work: Promise<unknown>): Promise<void> {
  await Promise.allSettled([work])
}

function newReport(id: VolumeId, key: LayoutKey): VolumeReport {
  return {
    volumeId: id,
    collection: key.collection,
    replication: key.replication,
    ttl: key.ttl,
    state: 'writable',
    reason: '',
    liveNeedles: 0,
    liveBytes: 0,
    garbageBytes: 0,
    datBytes: 0,
    compactionRevision: 0,
    directoryId: '',
    modifiedAtS: 0,
    digest: '',
    requestsPerS: 0,
  }
}
