import { volumeId as asVolumeId, needleIdFromNumber, type VolumeId } from '../../src/base/ids.ts'
import {
  copyCount,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../../src/base/replica-placement.ts'
import { TTL_NONE, type Ttl } from '../../src/base/ttl.ts'
import type { DirtyNeedle, JobView, VolumeCopyFacts, VolumeFacts } from '../../src/net/jobs-api.ts'
import type { DirtyKind, NodeLocation } from '../../src/net/master-api.ts'
import type { NewShard, ShardFacts, StrayShards, StripeFacts } from '../../src/net/stripe-facts.ts'
import { ModelClock } from './model-clock.ts'
import { ModelCopy } from './model-copy.ts'
import { encodeCopy, ModelShardSet } from './model-shards.ts'

export interface ModelNode {
  readonly location: NodeLocation
  isUp: boolean
  /** Nobody believes that it comes back. */
  isDeclaredLost: boolean
  isFull: boolean
  readonly copies: Map<VolumeId, ModelCopy>
  readonly sets: Map<VolumeId, readonly ModelShardSet[]>
  readonly frozenUntilMs: Map<VolumeId, number>
  setsOf(volumeId: VolumeId): readonly ModelShardSet[]
}

export interface ModelStripe {
  readonly runId: string
  readonly dataShards: number
  readonly parityShards: number
  readonly shards: readonly NewShard[]
}

export interface ModelMember {
  readonly url: string
  readonly directoryId: string
  revisionMin: number
}

/** The master's row of a volume, and what is dirty in it. */
export interface ModelVolume {
  readonly volumeId: VolumeId
  replication: ReplicaPlacement
  readonly ttl: Ttl
  setVersion: number
  members: ModelMember[]
  /** Then it has no members. */
  stripe: ModelStripe | undefined
  isDeleted: boolean
  readonly dirty: Map<number, { kind: DirtyKind; recordedAtMs: number }>
}

export interface ScrubNoted {
  readonly directoryId: string
  readonly damageCount: number
}

/**
 * Servers with copies of volumes and a master that knows which of them count, in memory: all that
 * jobs deal with. Nothing takes time; `ModelSession` is how a job reaches it.
 */
export class ModelCluster {
  readonly clock = new ModelClock()
  readonly nodes = new Map<string, ModelNode>()
  readonly volumes = new Map<VolumeId, ModelVolume>()
  /** One-way: `from>to` cannot be reached. */
  readonly cuts = new Set<string>()
  readonly jobs = new Map<number, JobView>()
  readonly scrubNotes: ScrubNoted[] = []
  /** Shards are to leave these servers. */
  readonly drained = new Set<string>()
  #nextContent = 1

  addNode(url: string, dataCenter = 'dc1', rack = 'r1'): ModelNode {
    const sets = new Map<VolumeId, readonly ModelShardSet[]>()
    const node = {
      location: { url, publicUrl: url, grpcAddress: url, dataCenter, rack },
      isUp: true,
      isDeclaredLost: false,
      isFull: false,
      copies: new Map<VolumeId, ModelCopy>(),
      sets,
      frozenUntilMs: new Map<VolumeId, number>(),
      setsOf: (volumeId: VolumeId) => sets.get(volumeId) ?? [],
    }
    this.nodes.set(url, node)
    return node
  }

  node(url: string): ModelNode {
    const node = this.nodes.get(url)
    if (node === undefined) throw new Error(`no node ${url}`)
    return node
  }

  addVolume(
    id: number,
    replication: string,
    urls: readonly string[],
    ttl: Ttl = TTL_NONE,
  ): ModelVolume {
    const volumeId = asVolumeId(id)
    const volume: ModelVolume = {
      volumeId,
      replication: parseReplicaPlacement(replication),
      ttl,
      setVersion: 1,
      members: urls.map((url) => ({ url, directoryId: `${url}/0`, revisionMin: 0 })),
      stripe: undefined,
      isDeleted: false,
      dirty: new Map(),
    }
    this.volumes.set(volumeId, volume)
    for (const url of urls) this.makeCopy(volume, url, `${url}/0`)
    return volume
  }

  makeCopy(volume: ModelVolume, url: string, directoryId: string): ModelCopy {
    const { volumeId, replication, ttl } = volume
    const nowMs = this.clock.nowMs()
    const copy = new ModelCopy({ volumeId, directoryId, collection: 'c', replication, ttl, nowMs })
    this.node(url).copies.set(volumeId, copy)
    return copy
  }

  /** As if it had been coded from its first copy, which goes with the others. */
  code(
    volume: ModelVolume,
    run: { readonly runId: string; readonly dataShards: number; readonly parityShards: number },
    urls: readonly string[],
  ): void {
    const { volumeId, replication } = volume
    const [first] = this.liveMembers(volume)
    if (first === undefined) throw new Error('there is no copy to code')
    const image = encodeCopy(first.copy, run)
    const nowMs = this.clock.nowMs()
    const shards = Array.from({ length: run.dataShards + run.parityShards }, (_, shard) => {
      const url = urls[shard % urls.length] ?? ''
      const directoryId = `${url}/0`
      const node = this.node(url)
      const [before] = node.setsOf(volumeId)
      const set =
        before ?? new ModelShardSet(image, { directoryId, replication, journal: [], nowMs })
      set.shards.add(shard)
      node.sets.set(volumeId, [set])
      return { shard, url, directoryId }
    })
    for (const { copies } of this.nodes.values()) copies.delete(volumeId)
    volume.members = []
    volume.stripe = { ...run, shards }
    volume.setVersion++
  }

  newContent(): number {
    return this.#nextContent++
  }

  volume(volumeId: VolumeId): ModelVolume {
    const volume = this.volumes.get(volumeId)
    if (volume === undefined) throw new Error(`no volume ${volumeId}`)
    return volume
  }

  /** The copy a member row means, if it is there and not an outdated one. */
  copyOf(volume: ModelVolume, member: ModelMember): ModelCopy | undefined {
    const copy = this.nodes.get(member.url)?.copies.get(volume.volumeId)
    if (copy === undefined || copy.directoryId !== member.directoryId) return undefined
    return copy.revision < member.revisionMin ? undefined : copy
  }

  /** Copies of members whose servers are up. */
  liveMembers(volume: ModelVolume): readonly { readonly url: string; readonly copy: ModelCopy }[] {
    return volume.members.flatMap((member) => {
      const copy = this.copyOf(volume, member)
      return copy === undefined || !this.node(member.url).isUp ? [] : [{ url: member.url, copy }]
    })
  }

  strays(volume: ModelVolume): readonly { readonly url: string; readonly copy: ModelCopy }[] {
    const counted = new Set(volume.members.map((member) => this.copyOf(volume, member)))
    return [...this.nodes.values()].flatMap(({ location, copies }) => {
      const copy = copies.get(volume.volumeId)
      return copy === undefined || counted.has(copy) ? [] : [{ url: location.url, copy }]
    })
  }

  /** The set that a place of the stripe means, if it is there, up or not. */
  setOf(volume: ModelVolume, { shard, url, directoryId }: NewShard): ModelShardSet | undefined {
    const sets = this.nodes.get(url)?.setsOf(volume.volumeId) ?? []
    return sets.find((set) => {
      const isOfRun = set.runId === volume.stripe?.runId && set.directoryId === directoryId
      return isOfRun && set.shards.has(shard)
    })
  }

  /** Of those that count, on servers that are up. */
  liveShards(volume: ModelVolume): readonly (NewShard & { readonly set: ModelShardSet })[] {
    return (volume.stripe?.shards ?? []).flatMap((place) => {
      const set = this.setOf(volume, place)
      return set === undefined || !this.node(place.url).isUp ? [] : [{ ...place, set }]
    })
  }

  goodShards(volume: ModelVolume): readonly NewShard[] {
    return this.liveShards(volume).filter(({ set, shard }) => set.hasGood(shard))
  }

  /** Shards that do not count, by directory, on servers that are up. */
  strayShards(volume: ModelVolume): StrayShards[] {
    const { volumeId, stripe } = volume
    return [...this.nodes.values()].flatMap(({ location, isUp, setsOf }) => {
      if (!isUp) return []
      return setsOf(volumeId).flatMap(({ runId, directoryId, shards }) => {
        const isCounted = (shard: number) => {
          const place = stripe?.runId === runId ? stripe.shards[shard] : undefined
          return place?.url === location.url && place.directoryId === directoryId
        }
        const strays = [...shards].filter((shard) => !isCounted(shard)).sort((a, b) => a - b)
        return strays.length === 0 ? [] : [{ location, directoryId, runId, shards: strays, isUp }]
      })
    })
  }

  #stripeFacts(volume: ModelVolume): StripeFacts | undefined {
    const { stripe, volumeId } = volume
    if (stripe === undefined) return undefined
    const shards = stripe.shards.map((place): ShardFacts => {
      const node = this.node(place.url)
      const { shard, directoryId } = place
      const set = node.isUp ? this.setOf(volume, place) : undefined
      const isLost = node.isUp ? set === undefined : node.isDeclaredLost
      const report = set?.report(volumeId)
      const isBad = report?.badShards.includes(shard) === true
      const { location, isUp } = node
      return { shard, location, directoryId, report, isUp, isLost, isBad }
    })
    return { ...stripe, shards }
  }

  facts(volume: ModelVolume): VolumeFacts {
    const { volumeId, replication, ttl, setVersion, isDeleted, dirty } = volume
    const members = volume.members.map((member): VolumeCopyFacts => {
      const node = this.node(member.url)
      const copy = this.copyOf(volume, member)
      const report = node.isUp ? copy?.report : undefined
      const isLost = node.isUp ? copy === undefined : node.isDeclaredLost
      const { directoryId } = member
      return { location: node.location, report, isUp: node.isUp, directoryId, isLost }
    })
    // The master forgets what a server had that was not to count, when it goes down.
    const known = this.strays(volume).filter(({ url }) => this.node(url).isUp)
    const strays = known.map(({ url, copy }): VolumeCopyFacts => {
      const { location, isUp } = this.node(url)
      const { directoryId, report } = copy
      return { location, report, isUp, directoryId, isLost: false }
    })
    return {
      volumeId,
      collection: 'c',
      replication,
      ttl,
      writePolicy: 'all',
      setVersion,
      members,
      strays,
      isDeleted,
      dirtyCount: dirty.size,
      stripe: this.#stripeFacts(volume),
      strayShards: this.strayShards(volume),
    }
  }

  recordDirty(volume: ModelVolume, needle: number, kind: DirtyKind): void {
    const before = volume.dirty.get(needle)
    const recordedAtMs = this.clock.nowMs()
    const kept = before?.kind === 'delete' && kind !== 'delete' ? 'delete' : kind
    volume.dirty.set(needle, { kind: kept, recordedAtMs })
  }

  listDirty(volume: ModelVolume, after: number, count: number): readonly DirtyNeedle[] {
    return [...volume.dirty]
      .filter(([needle]) => needle > after)
      .sort(([a], [b]) => a - b)
      .slice(0, count)
      .map(([needle, { kind, recordedAtMs }]) => {
        return { needleId: needleIdFromNumber(needle), kind, recordedAtMs }
      })
  }

  /** Why the volume is not what it shall be; undefined: it is. */
  fault(volume: ModelVolume): string | undefined {
    const strays = this.strays(volume).filter(({ url }) => this.node(url).isUp)
    if (strays.length > 0) return `strays at ${strays.map(({ url }) => url).join(', ')}`
    const shards = this.strayShards(volume)
    if (shards.length > 0) return `stray shards at ${shards.map(({ directoryId }) => directoryId)}`
    if (volume.isDeleted) return undefined
    if (volume.stripe !== undefined) return this.#stripeFault(volume, volume.stripe)
    const live = this.liveMembers(volume)
    if (live.length !== volume.members.length) return 'a member is away'
    if (live.length !== copyCount(volume.replication)) return `${live.length} copies`
    if (live.some(({ copy }) => !copy.isSound)) return 'a bad member'
    if (volume.dirty.size > 0) return `${volume.dirty.size} dirty`
    const digests = new Set(live.map(({ copy }) => copy.digest(true)))
    return digests.size > 1 ? 'members differ' : undefined
  }

  #stripeFault(volume: ModelVolume, stripe: ModelStripe): string | undefined {
    const good = this.goodShards(volume)
    if (good.length !== stripe.shards.length) return `${good.length} good shards`
    const live = this.liveShards(volume)
    if (new Set(live.map(({ set }) => set.image)).size > 1) return 'shards of different images'
    const journals = new Set(live.map(({ set }) => set.journalDigest))
    if (journals.size > 1) return 'journals differ'
    return volume.dirty.size > 0 ? `${volume.dirty.size} dirty` : undefined
  }
}
