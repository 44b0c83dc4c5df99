import type { VolumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { ChooseTargetRequest, NextMove, VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ChooseShardsRequest, ShardMove, ShardPlace } from '../net/stripe-facts.ts'
import type { Random } from '../runtime/random.ts'
import { isBad } from './assess.ts'
import { isCoded } from './assess-stripe.ts'
import { chooseTarget, unmetPlacement } from './placement.ts'
import { isFull, type Steadiness, steadyFirst } from './placement-servers.ts'
import { type BalanceVolume, planNextMove } from './rebalance-plan.ts'
import type { RepairView } from './repair-view.ts'
import { ShardMovePlanner } from './shard-moves.ts'
import { chooseShards } from './shard-placement.ts'
import { isShardVolume } from './shard-volumes.ts'
import { isGoodShard, shardBytesOf } from './stripe-figures.ts'

export interface NextMovesParts {
  readonly view: RepairView
  readonly random: Random
  /** Whether some job runs on a volume, or is to move it, as of now. */
  readonly busyTest: () => (volumeId: VolumeId) => boolean
}

/** Coded volumes for whose shards a place is looked for at once, to see whether there is any. */
const SHARDS_PLANNED_MAX = 10

/** Chooses what goes where. It decides upon the present moment, and remembers nothing. */
export class NextMoves {
  readonly #parts: NextMovesParts
  readonly #spread: number

  constructor(parts: NextMovesParts, options: { readonly spread: number }) {
    this.#parts = parts
    this.#spread = options.spread
  }

  /**
   * For a copy that is needed: on a server that comes and goes too often if there is no other.
   *
   * @throws {StoreError} PLACEMENT_IMPOSSIBLE, NO_WRITABLE_VOLUME.
   */
  target(
    facts: VolumeFacts,
    request: Pick<ChooseTargetRequest, 'replaces' | 'excluded'>,
  ): NodeLocation {
    return steadyFirst((steadiness) => this.#targetAmong(facts, request, steadiness))
  }

  #targetAmong(
    facts: VolumeFacts,
    { replaces, excluded }: Pick<ChooseTargetRequest, 'replaces' | 'excluded'>,
    steadiness: Steadiness,
  ): NodeLocation {
    const { view, random } = this.#parts
    const sources = [...facts.members, ...(facts.stripe?.shards ?? [])]
    const bytes = Math.max(0, ...sources.map(({ report }) => report?.datBytes ?? 0))
    const servers = view.servers(bytes, steadiness)
    const isOut = (copy: VolumeFacts['members'][number]) =>
      copy.directoryId === replaces || copy.isLost
    const kept = facts.members.filter((copy) => !isOut(copy)).map(({ location }) => location)
    // One that is lost since its server does not have it any more may be made there anew.
    const holders = facts.members.filter((copy) => copy.report !== undefined || !copy.isLost)
    const out = new Set([...excluded, ...holders.map(({ location }) => location.url)])
    const strays = facts.strays.map(({ location }) => location.url)
    const options = {
      replication: facts.replication,
      isBroken: (url: string, otherUrl: string) => view.isCut(url, otherUrl),
    }
    const choose = (more: readonly string[]) =>
      chooseTarget(kept, servers, { ...options, excluded: new Set([...out, ...more]) }, random)
    try {
      return choose(strays).location
    } catch (error) {
      // A copy that does not count is in the way there, and is replaced.
      if (!isFull(error) || strays.length === 0) throw error
      return choose([]).location
    }
  }

  /** Undefined: nothing is worth moving. */
  rebalance(all: Iterable<VolumeFacts>): NextMove | undefined {
    const { view } = this.#parts
    const isBusy = this.#parts.busyTest()
    const nodes = view.nodes().filter((node) => node.isUp && !node.isSpared)
    const volumes: BalanceVolume[] = []
    for (const facts of all) {
      const { volumeId, replication, members } = facts
      // Where the other shards of its files are, nobody here knows: two must not share a server.
      if (isShardVolume(facts) || !isWhole(facts) || isBusy(volumeId)) continue
      const reports = members.flatMap(({ report }) => report ?? [])
      volumes.push({
        volumeId,
        replication,
        sizeBytes: Math.max(...reports.map(({ datBytes }) => datBytes)),
        requestsPerS: Math.max(...reports.map(({ requestsPerS }) => requestsPerS)),
        members: members.map(({ location }) => location),
      })
    }
    return planNextMove(nodes, volumes, { spread: this.#spread })
  }

  /**
   * Undefined: no copy or shard that counts is on the server any more.
   *
   * @throws {StoreError} VOLUME_BUSY: those that are left are being worked on, or are shards.
   * PLACEMENT_IMPOSSIBLE, NO_WRITABLE_VOLUME: none of them can go anywhere.
   */
  evacuate(all: Iterable<VolumeFacts>, url: string): NextMove | undefined {
    const isBusy = this.#parts.busyTest()
    let busyCount = 0
    let failure: unknown
    let codedCount = 0
    for (const facts of all) {
      if (this.#hasShards(facts, url)) {
        busyCount++ // They leave by jobs of their own.
        const isPlanned = codedCount++ < SHARDS_PLANNED_MAX && !isBusy(facts.volumeId)
        if (isPlanned) failure ??= this.#whyShardsStay(facts, url)
        continue
      }
      const copy = facts.members.find((member) => member.location.url === url)
      if (facts.isDeleted || copy === undefined || copy.isLost) continue
      if (isBusy(facts.volumeId) || copy.report === undefined || isBad(copy.report)) {
        busyCount++ // A bad copy is made anew elsewhere by its repair.
        continue
      }
      try {
        const request = { replaces: copy.directoryId, excluded: [url] }
        const to = this.#targetAmong(facts, request, 'steady')
        return { volumeId: facts.volumeId, from: copy.location, to }
      } catch (error) {
        failure ??= error
      }
    }
    if (failure !== undefined) throw failure
    if (busyCount === 0) return undefined
    throw new StoreError('VOLUME_BUSY', `${busyCount} volumes of ${url} are being worked on`)
  }

  /** The move that brings a volume with enough copies to the places it should have. */
  placement(facts: VolumeFacts): NextMove | undefined {
    if (!isWhole(facts)) return undefined
    const { replication, members, volumeId } = facts
    for (const copy of members) {
      const kept = members.filter((member) => member !== copy).map(({ location }) => location)
      try {
        const request = { replaces: copy.directoryId, excluded: [] }
        const to = this.#targetAmong(facts, request, 'steady')
        if (unmetPlacement([...kept, to], replication) !== undefined) continue
        return { volumeId, from: copy.location, to }
      } catch (error) {
        if (!isFull(error)) throw error
      }
    }
    return undefined
  }

  /** As `target`, for shards. @throws {StoreError} NO_WRITABLE_VOLUME. */
  shards(request: ChooseShardsRequest): ShardPlace[] {
    const { view, random } = this.#parts
    const excluded = new Set(request.excluded)
    const places = new Map(view.nodes().map(({ location }) => [location.url, location]))
    const kept = request.kept.flatMap(({ url }) => places.get(url) ?? [])
    return steadyFirst((steadiness) => {
      const able = view.shardServers(steadiness)
      const servers = able.filter(({ location }) => !excluded.has(location.url))
      return chooseShards(servers, { ...request, kept }, random)
    })
  }

  /** Undefined: no shard lies better elsewhere, or the volume is not coded. */
  shardMove(facts: VolumeFacts): ShardMove | undefined {
    return this.shardPlanner()(facts)
  }

  /** As `shardMove`, for many volumes: servers are looked at only once. */
  shardPlanner(): (facts: VolumeFacts) => ShardMove | undefined {
    const { view } = this.#parts
    const nodes = view.nodes().filter(({ isDraining }) => isDraining)
    const draining = new Set(nodes.map(({ location }) => location.url))
    const planner = new ShardMovePlanner({
      servers: view.shardServers('steady'),
      isDraining: (url) => draining.has(url),
      isCut: (url, otherUrl) => view.isCut(url, otherUrl),
    })
    return (facts) => {
      if (!isCoded(facts)) return undefined
      return planner.plan(facts.stripe.shards, shardBytesOf(facts.stripe))
    }
  }

  #hasShards({ stripe, isDeleted }: VolumeFacts, url: string): boolean {
    const shards = isDeleted ? [] : (stripe?.shards ?? [])
    return shards.some(({ location, isLost }) => location.url === url && !isLost)
  }

  /** Undefined: they can leave, or have to be repaired before. */
  #whyShardsStay(facts: VolumeFacts, url: string): StoreError | undefined {
    if (facts.stripe?.shards.every(isGoodShard) !== true) return undefined
    if (this.shardMove(facts)?.from.url === url) return undefined
    const message = `no other server has room for the shards of volume ${facts.volumeId} at ${url}`
    return new StoreError('NO_WRITABLE_VOLUME', message)
  }
}

/** Every copy that counts is there and healthy, and they are the same as far as anybody knows. */
function isWhole({ isDeleted, members, dirtyCount }: VolumeFacts): boolean {
  if (isDeleted || dirtyCount > 0 || members.length === 0) return false
  return members.every(
    ({ isUp, isLost, report }) => isUp && !isLost && report !== undefined && !isBad(report),
  )
}
