import { type NeedleId, needleIdToBigInt, type VolumeId } from '../../src/base/ids.ts'
import type { ReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type {
  ChooseTargetRequest,
  DirtyNeedle,
  JobRequest,
  JobsApi,
  JobView,
  ListJobsRequest,
  MembersChange,
  NextMove,
  ScrubNote,
  VacuumNote,
  VolumeFacts,
} from '../../src/net/jobs-api.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type {
  ChooseShardsRequest,
  NewShard,
  ShardMove,
  ShardPlace,
  StripeChange,
} from '../../src/net/stripe-facts.ts'
import type { ConnectVolume } from '../../src/net/volume-api.ts'
import type { ModelCluster, ModelMember, ModelStripe, ModelVolume } from './model-cluster.ts'
import { ModelServer } from './model-server.ts'

export type CallHook = (name: string) => void

const NO_SUCH = 'not part of the model'

/** How one worker reaches the cluster. A dead one reaches nothing any more. */
export class ModelSession {
  readonly cluster: ModelCluster
  isDead = false
  callCount = 0
  /** Before a call takes effect, and after. */
  beforeCall: CallHook = () => {}
  afterCall: CallHook = () => {}

  constructor(cluster: ModelCluster) {
    this.cluster = cluster
  }

  readonly connect: ConnectVolume = (location) => new ModelServer(this, location.url)

  async call<Result>(name: string, run: () => Result): Promise<Result> {
    await Promise.resolve()
    this.callCount++
    this.check()
    this.beforeCall(name)
    this.check()
    const result = run()
    this.afterCall(name)
    this.check()
    return result
  }

  check(): void {
    if (this.isDead) throw new StoreError('CANCELLED', 'the worker is dead')
  }
}

/** The master, as far as jobs need one. Leases and the queue are left to others. */
export class ModelJobs implements JobsApi {
  readonly #session: ModelSession
  onReport: () => void = () => {}

  constructor(session: ModelSession) {
    this.#session = session
  }

  get #cluster(): ModelCluster {
    return this.#session.cluster
  }

  volumeFacts(volumeId: VolumeId): Promise<VolumeFacts> {
    return this.#session.call('volumeFacts', () => this.#cluster.facts(this.#volume(volumeId)))
  }

  listVolumes(): Promise<readonly VolumeId[]> {
    return this.#session.call('listVolumes', () =>
      [...this.#cluster.volumes.values()]
        .filter(({ isDeleted }) => !isDeleted)
        .map(({ volumeId }) => volumeId)
        .sort((a, b) => a - b),
    )
  }

  chooseTarget(request: ChooseTargetRequest): Promise<NodeLocation> {
    return this.#session.call('chooseTarget', () => {
      const volume = this.#volume(request.volumeId)
      const rest = volume.members.filter(({ directoryId }) => directoryId !== request.replaces)
      const taken = new Set([...rest.map(({ url }) => url), ...request.excluded])
      for (const { url } of this.#cluster.strays(volume)) taken.add(url)
      const free = [...this.#cluster.nodes.values()].filter(
        ({ isUp, isFull, location, copies }) =>
          isUp && !isFull && !taken.has(location.url) && !copies.has(volume.volumeId),
      )
      const [first] = free
      if (first === undefined) throw new StoreError('PLACEMENT_IMPOSSIBLE', 'no server is left')
      return first.location
    })
  }

  changeMembers(change: MembersChange): Promise<VolumeFacts> {
    return this.#session.call('changeMembers', () => {
      const volume = this.#volume(change.volumeId)
      if (volume.isDeleted) throw new StoreError('VOLUME_NOT_FOUND', 'deleted')
      if (volume.setVersion !== change.setVersion) {
        throw new StoreError('METADATA_CONFLICT', 'the members have changed')
      }
      if (volume.stripe !== undefined && change.add.length === 0) {
        throw new StoreError('REQUEST_INVALID', 'a stripe has no members that could leave')
      }
      const members = volume.members.filter(
        ({ directoryId }) => !change.removeDirectoryIds.includes(directoryId),
      )
      members.push(...change.add.map((member) => this.#newMember(volume, member)))
      const urls = new Set(members.map(({ url }) => url))
      if (members.length === 0 || urls.size < members.length) {
        throw new StoreError('REQUEST_INVALID', 'none left, or two on one server')
      }
      volume.members = members
      volume.stripe = undefined
      volume.setVersion++
      return this.#cluster.facts(volume)
    })
  }

  changeStripe(change: StripeChange): Promise<VolumeFacts> {
    return this.#session.call('changeStripe', () => {
      const volume = this.#volume(change.volumeId)
      if (volume.isDeleted) throw new StoreError('VOLUME_NOT_FOUND', 'deleted')
      if (volume.setVersion !== change.setVersion) {
        throw new StoreError('METADATA_CONFLICT', 'what counts has changed')
      }
      const { runId, dataShards, parityShards } = change
      const shards = change.shards.toSorted((a, b) => a.shard - b.shard)
      const isOneOfEach = shards.every(({ shard }, index) => shard === index)
      if (!isOneOfEach || shards.length !== dataShards + parityShards) {
        throw new StoreError('REQUEST_INVALID', 'not one of each shard')
      }
      const stripe = { runId, dataShards, parityShards, shards }
      const unknown = shards.find((place) => !this.#isReported(volume, stripe, place))
      if (unknown !== undefined) throw new StoreError('METADATA_CONFLICT', 'not reported')
      volume.stripe = stripe
      volume.members = []
      volume.setVersion++
      return this.#cluster.facts(volume)
    })
  }

  #isReported(volume: ModelVolume, stripe: ModelStripe, place: NewShard): boolean {
    const before = volume.stripe?.runId === stripe.runId ? volume.stripe.shards : []
    if (before[place.shard]?.directoryId === place.directoryId) return true
    const set = this.#cluster.setOf({ ...volume, stripe }, place)
    return this.#cluster.node(place.url).isUp && set?.known.has(place.shard) === false
  }

  chooseShards(request: ChooseShardsRequest): Promise<readonly ShardPlace[]> {
    return this.#session.call('chooseShards', () => {
      const counts = this.#roomFor(
        request.kept.map(({ url }) => url),
        request.excluded,
      )
      return request.wanted.map((shard) => {
        const [emptiest] = [...counts].sort(([, a], [, b]) => a - b)
        if (emptiest === undefined) throw new StoreError('NO_WRITABLE_VOLUME', 'no server is left')
        const [url, count] = emptiest
        counts.set(url, count + 1)
        return { shard, location: this.#cluster.node(url).location }
      })
    })
  }

  nextShardMove(volumeId: VolumeId): Promise<ShardMove | undefined> {
    return this.#session.call('nextShardMove', () => {
      const volume = this.#volume(volumeId)
      const places = volume.stripe?.shards ?? []
      const { drained } = this.#cluster
      const counts = this.#roomFor(
        places.map(({ url }) => url),
        [...drained],
      )
      const [emptiest] = [...counts].sort(([, a], [, b]) => a - b)
      if (emptiest === undefined) return undefined
      const [to, least] = emptiest
      const crowd = (url: string) => places.filter((place) => place.url === url).length
      const moving = places.find(({ url }) => drained.has(url) || crowd(url) > least + 1)
      if (moving === undefined) return undefined
      const { shard, url, directoryId: fromDirectoryId } = moving
      const from = this.#cluster.node(url).location
      return { shard, from, fromDirectoryId, to: this.#cluster.node(to).location }
    })
  }

  /** Servers that can take shards, with the number they have. */
  #roomFor(urls: readonly string[], excluded: readonly string[]): Map<string, number> {
    const all = [...this.#cluster.nodes.values()]
    const first = this.#cluster.newContent() % all.length
    const free = [...all.slice(first), ...all.slice(0, first)].filter(
      ({ isUp, isFull, location }) => isUp && !isFull && !excluded.includes(location.url),
    )
    return new Map(
      free.map(({ location: { url } }) => [url, urls.filter((one) => one === url).length]),
    )
  }

  listDirty(request: {
    readonly volumeId: VolumeId
    readonly after: NeedleId | undefined
  }): Promise<readonly DirtyNeedle[]> {
    return this.#session.call('listDirty', () => {
      const after = request.after === undefined ? -1 : Number(needleIdToBigInt(request.after))
      return this.#cluster.listDirty(this.#volume(request.volumeId), after, 3)
    })
  }

  resolveDirty(volumeId: VolumeId, needles: readonly DirtyNeedle[]): Promise<void> {
    return this.#session.call('resolveDirty', () => {
      const { dirty } = this.#volume(volumeId)
      for (const { needleId, recordedAtMs } of needles) {
        const needle = Number(needleIdToBigInt(needleId))
        if (dirty.get(needle)?.recordedAtMs === recordedAtMs) dirty.delete(needle)
      }
    })
  }

  noteVacuum(note: VacuumNote): Promise<void> {
    return this.#session.call('noteVacuum', () => {
      const volume = this.#volume(note.volumeId)
      const member = volume.members.find(({ directoryId }) => directoryId === note.directoryId)
      if (member !== undefined) member.revisionMin = note.compactionRevision
    })
  }

  noteScrub({ directoryId, damageCount }: ScrubNote): Promise<void> {
    return this.#session.call('noteScrub', () => {
      this.#cluster.scrubNotes.push({ directoryId, damageCount })
    })
  }

  healPlan(): Promise<never> {
    throw new Error('no healer of objects here')
  }

  forgetVolume({ volumeId }: { readonly volumeId: VolumeId }): Promise<void> {
    return this.#session.call('forgetVolume', () => {
      const volume = this.#volume(volumeId)
      volume.isDeleted = true
      volume.members = []
      volume.stripe = undefined
      volume.setVersion++
    })
  }

  setReplication(volumeId: VolumeId, replication: ReplicaPlacement): Promise<void> {
    return this.#session.call('setReplication', () => {
      this.#volume(volumeId).replication = replication
    })
  }

  nextMove({ node }: { readonly node: string }): Promise<NextMove | undefined> {
    return this.#session.call('nextMove', () => {
      const { nodes, volumes } = this.#cluster
      for (const volume of volumes.values()) {
        if (!volume.members.some(({ url }) => url === node)) continue
        const free = [...nodes.values()].find(
          ({ isUp, location, copies }) =>
            isUp && location.url !== node && !copies.has(volume.volumeId),
        )
        if (free === undefined) continue
        const from = this.#cluster.node(node).location
        return { volumeId: volume.volumeId, from, to: free.location }
      }
      return undefined
    })
  }

  runJob(request: JobRequest): Promise<JobView> {
    return this.#session.call('runJob', () => {
      const view = viewOf(this.#cluster.jobs.size + 1, request)
      this.#cluster.jobs.set(view.id, view)
      return view
    })
  }

  listJobs(request: ListJobsRequest): Promise<readonly JobView[]> {
    return this.#session.call('listJobs', () =>
      [...this.#cluster.jobs.values()].filter(({ kind, endedAtMs }) => {
        const isWanted = request.kind === undefined || request.kind === kind
        return isWanted && (request.withEnded || endedAtMs === 0)
      }),
    )
  }

  reportJob(): Promise<'go-on'> {
    return this.#session.call('reportJob', () => {
      this.onReport()
      return 'go-on'
    })
  }

  orderJob = unused
  watchJobs = unused
  takeJob = unused
  endJob = unused
  forgetNode = unused
  health = unused
  durability = unused

  #volume(volumeId: VolumeId): ModelVolume {
    const volume = this.#cluster.volumes.get(volumeId)
    if (volume === undefined) throw new StoreError('VOLUME_NOT_FOUND', 'no such volume')
    return volume
  }

  #newMember(
    volume: ModelVolume,
    { url, directoryId }: { readonly url: string; readonly directoryId: string },
  ): ModelMember {
    const copy = this.#cluster.node(url).copies.get(volume.volumeId)
    return { url, directoryId, revisionMin: copy?.revision ?? 0 }
  }
}

function unused(): never {
  throw new StoreError('REQUEST_INVALID', NO_SUCH)
}

export function viewOf(id: number, request: JobRequest): JobView {
  return {
    ...request,
    id,
    state: 'waiting',
    risk: 0,
    queue: '',
    progress: { phase: '', done: 0, total: 0, unit: 'bytes' },
    attempts: 1,
    createdAtMs: 0,
    startedAtMs: 0,
    endedAtMs: 0,
    notBeforeMs: 0,
    worker: '',
    error: '',
    summary: '',
  }
}
