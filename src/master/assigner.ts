import { LIMITS } from '../base/limits.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { AssignRequest, Lease, NodeLocation } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Collections } from './collections.ts'
import type { MasterConfig } from './config.ts'
import { Deadline } from './deadline.ts'
import type { Growth } from './growth.ts'
import type { GrowthAhead } from './growth-ahead.ts'
import { formatLayoutKey, isInPlace, type LayoutKey, type PlaceFilter } from './layout-key.ts'
import type { Sequencer } from './sequencer.ts'
import type { Choice, Strategy } from './strategies.ts'
import { ALL_GRADES, type Candidate, freshVolumeBytes, type Grade } from './volume-layout.ts'
import type { WarmUp } from './warm-up.ts'

/** Makes tokens that allow the writes of a lease. */
export interface LeaseTokens {
  mintLease(block: Pick<Lease, 'volumeId' | 'firstNeedleId' | 'count'>, seconds: number): string
}

export interface AssignerParts {
  readonly state: ClusterState
  readonly growth: Growth
  readonly ahead: GrowthAhead
  readonly sequencer: Sequencer
  readonly strategy: Strategy
  readonly collections: Collections
  readonly warmUp: WarmUp
  readonly clock: Clock
  readonly random: Random
  /** Undefined: the cluster asks for none. */
  readonly tokens: LeaseTokens | undefined
}

export type AssignerConfig = Pick<
  MasterConfig,
  'defaultReplication' | 'growth' | 'leaseMs' | 'warmUpWaitMs' | 'volumeSizeMaxBytes'
>

/** A token outlives its lease by this: the last write may be on its way. */
const TOKEN_MARGIN_S = 10

/** Between two tries to make a volume when servers fail: twice as long each time. */
const RETRY_FIRST_MS = 100
const RETRY_MAX_MS = 2000

/** What of a request decides where it may go. */
interface Wish {
  readonly key: LayoutKey
  readonly place: PlaceFilter
  readonly request: AssignRequest
}

/**
 * Gives out leases: chooses a volume that can take the write, makes one if there is none, and
 * carves ids for it. As long as some servers have room for the copies that are asked for, an assign
 * waits rather than fails. A volume some of whose copies are out of reach, or may differ, is given
 * only to a collection that takes what it can get, and only when there is no other.
 */
export class Assigner {
  readonly #parts: AssignerParts
  readonly #config: AssignerConfig

  constructor(parts: AssignerParts, config: AssignerConfig) {
    this.#parts = parts
    this.#config = config
  }

  /**
   * @throws {StoreError} REQUEST_INVALID; NODE_NOT_FOUND: no server was ever heard of there;
   * WARMING_UP; PLACEMENT_IMPOSSIBLE; NO_WRITABLE_VOLUME: no room, or none was made in time;
   * UNAVAILABLE: the collection is being deleted.
   */
  async assign(request: AssignRequest, signal: AbortSignal): Promise<Lease> {
    checkRequest(request)
    const { warmUp, sequencer, state, ahead, tokens } = this.#parts
    await warmUp.wait(this.#config.warmUpWaitMs, signal)
    this.checkPlace(request)
    const wish = { key: this.layoutKey(request), place: request, request }
    this.#parts.growth.checkNotFrozen(request.collection)
    const choice = await this.#chooseOrMake(wish, signal)
    const { volumeId, copies } = choice.candidate
    const firstNeedleId = await sequencer.take(request.count, signal)
    if (!state.hasVolume(volumeId)) {
      throw new StoreError('NO_WRITABLE_VOLUME', `volume ${volumeId} was deleted just now`)
    }
    const volumeBytes = freshVolumeBytes(this.#config.volumeSizeMaxBytes)
    state.assigned.add(volumeId, copies, Math.min(volumeBytes, this.#expectedBytes(wish)))
    ahead.note(wish.key)
    const block = { volumeId, firstNeedleId, count: request.count }
    const seconds = Math.ceil(this.#config.leaseMs / 1000) + TOKEN_MARGIN_S
    return {
      ...block,
      locations: this.#order(choice, request),
      writeToken: tokens?.mintLease(block, seconds) ?? '',
      validMs: this.#config.leaseMs,
    }
  }

  layoutKey(
    request: Pick<AssignRequest, 'collection' | 'ttl'> & {
      readonly replication: ReplicaPlacement | undefined
    },
  ): LayoutKey {
    const { collection, ttl } = request
    const own = request.replication ?? this.#parts.collections.replicationOf(collection)
    return { collection, replication: own ?? this.#config.defaultReplication, ttl }
  }

  /** @throws {StoreError} NODE_NOT_FOUND */
  checkPlace(place: PlaceFilter): void {
    if (place.dataCenter === '' && place.rack === '' && place.node === '') return
    for (const node of this.#parts.state.topology.nodes) {
      if (isInPlace(node.location, place)) return
    }
    const names = [place.dataCenter, place.rack, place.node].filter((name) => name !== '')
    throw new StoreError('NODE_NOT_FOUND', `no volume server is known in ${names.join(' / ')}`)
  }

  /**
   * A volume with room for all of it. Where none has, because all are too full, a new one is to be
   * made: undefined. Where the disks are what is too full, that would not help: any with some room.
   */
  #choose(wish: Wish): Choice | undefined {
    const good = this.#candidates(wish, ['good'])
    const all = good.length > 0 ? good : this.#candidates(wish, ['spared'])
    const { strategy } = this.#parts
    const expectedBytes = this.#expectedBytes(wish)
    const roomy = all.filter((candidate) => candidate.remainingBytes >= expectedBytes)
    if (roomy.length > 0) return strategy.choose(roomy, wish.request.key)
    const wouldFit = expectedBytes <= freshVolumeBytes(this.#config.volumeSizeMaxBytes)
    if (wouldFit && all.every((each) => each.sizeLeftBytes < expectedBytes)) return undefined
    return strategy.choose(all, wish.request.key)
  }

  #candidates({ key, place, request }: Wish, grades: readonly Grade[]): Candidate[] {
    const layout = this.#parts.state.layout(key)
    return layout?.candidates(place, new Set(request.excludedVolumeIds), grades) ?? []
  }

  /** Where no volume could be made: whatever may do. */
  #chooseAny(wish: Wish): Choice | undefined {
    const { strategy, collections } = this.#parts
    const whole = this.#candidates(wish, ['good', 'spared', 'cut'])
    const choice = strategy.choose(whole, wish.request.key)
    if (choice !== undefined) return choice
    if (collections.writePolicyOf(wish.key.collection) !== 'best-effort') return undefined
    return strategy.choose(this.#candidates(wish, ['partial']), wish.request.key)
  }

  /** Makes one, if need be; where that fails, any volume with some room will do. */
  async #chooseOrMake(wish: Wish, signal: AbortSignal): Promise<Choice> {
    const choice = this.#choose(wish)
    if (choice !== undefined) return choice
    try {
      return await this.#waitForVolume(wish, signal)
    } catch (error) {
      if (!isStoreError(error, ...NO_ROOM)) throw error
      const any = this.#chooseAny(wish)
      if (any === undefined) throw error
      return any
    }
  }

  #expectedBytes({ key, request }: Wish): number {
    const { dataBytes, count } = request
    if (dataBytes > 0) return count * dataBytes
    return count * (this.#parts.state.layout(key)?.needleBytesMean() ?? 0)
  }

  async #waitForVolume(wish: Wish, signal: AbortSignal): Promise<Choice> {
    const { growth, collections, clock } = this.#parts
    const { key, place, request } = wish
    const unsparing = this.#chooseUnsparing(wish)
    if (unsparing !== undefined) return unsparing
    growth.checkPossible(key, place)
    await collections.ensure(key.collection, request.replication, signal)
    using deadline = new Deadline(clock, this.#config.growth.waitMs, signal)
    let failure: unknown
    let retryMs = RETRY_FIRST_MS
    while (!deadline.signal.aborted) {
      try {
        await growth.one(key, place, deadline.signal)
      } catch (error) {
        if (!isStoreError(error, ...WAITED_OUT)) throw error
        if (signal.aborted) throw error
        failure = error
        // It may have failed for somebody else's place.
        growth.checkPossible(key, place)
        if (!deadline.signal.aborted) {
          await clock.sleep(retryMs, deadline.signal).catch(() => undefined)
        }
        retryMs = Math.min(RETRY_MAX_MS, retryMs * 2)
      }
      const choice = this.#choose(wish)
      if (choice !== undefined) return choice
    }
    if (signal.aborted) throw new StoreError('CANCELLED', 'cancelled while a volume was made')
    throw new StoreError(
      'NO_WRITABLE_VOLUME',
      `no volume of ${formatLayoutKey(key)} was made within ${this.#config.growth.waitMs} ms`,
      { cause: failure },
    )
  }

  /**
   * Where there are as many volumes with room as there may be, no more are made for callers who
   * exclude them all, or who announce more bytes than they write: one of those there has to do.
   *
   * @throws {StoreError} NO_WRITABLE_VOLUME: all were excluded, or have copies that may differ.
   */
  #chooseUnsparing({ key, place, request }: Wish): Choice | undefined {
    const layout = this.#parts.state.layout(key)
    const countMax = this.#config.growth.writableMax
    const count = layout?.candidatesOnReports(place, ALL_GRADES).length ?? 0
    if (count < countMax) return undefined
    const excluded = new Set(request.excludedVolumeIds)
    const there = layout?.candidatesOnReports(place) ?? []
    const left = there.filter(({ volumeId }) => !excluded.has(volumeId))
    const choice = this.#parts.strategy.choose(left, request.key)
    if (choice !== undefined) return choice
    const why = 'were excluded, or their copies are being made equal'
    throw new StoreError('NO_WRITABLE_VOLUME', `all ${count} volumes ${why}`)
  }

  /** Servers where the caller wants to write first, then the strategy's, then by chance. */
  #order({ candidate, firstUrl }: Choice, place: PlaceFilter): NodeLocation[] {
    const rankOf = (location: NodeLocation): number => {
      const isPlace = isInPlace(location, place) ? 0 : 2
      return isPlace + (location.url === firstUrl ? 0 : 1)
    }
    const { random } = this.#parts
    return candidate.copies
      .map(({ node: { location } }) => ({ location, rank: rankOf(location), chance: random.u32() }))
      .sort((a, b) => a.rank - b.rank || a.chance - b.chance)
      .map(({ location }) => location)
  }
}

/** Failures of one try to make a volume that the next one may not have. */
const WAITED_OUT = [
  'PLACEMENT_IMPOSSIBLE',
  'NO_WRITABLE_VOLUME',
  'UNAVAILABLE',
  'TIMEOUT',
  'CANCELLED',
] as const

const NO_ROOM = ['PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME'] as const

function checkRequest({ count, dataBytes, excludedVolumeIds }: AssignRequest): void {
  const countMax = LIMITS.assignCountMax.value
  if (!Number.isInteger(count) || count < 1 || count > countMax) {
    throw new StoreError(
      'REQUEST_INVALID',
      `${count} ids: 1 to ${countMax} can be assigned at once`,
    )
  }
  const bytesMax = LIMITS.needleDataMax.value
  if (!(dataBytes >= 0 && dataBytes <= bytesMax)) {
    throw new StoreError('REQUEST_INVALID', `${dataBytes} bytes for each id: 0 to ${bytesMax}`)
  }
  const excludedMax = LIMITS.excludedVolumesMax.value
  if (excludedVolumeIds.length > excludedMax) {
    throw new StoreError('REQUEST_INVALID', `at most ${excludedMax} volumes can be excluded`)
  }
}
