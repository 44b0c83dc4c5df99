import type { VolumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { NextMoves } from '../../src/master/next-moves.ts'
import { ClusterView } from '../../src/master/repair-view.ts'
import type { JobKind, JobsApi, JobView, VolumeFacts } from '../../src/net/jobs-api.ts'
import type { DirtyRecord, LocationsUpdate, VolumeLocations } from '../../src/net/master-api.ts'
import { Prng } from '../support/prng.ts'
import type { SimClock } from '../support/sim-clock.ts'
import { TestState } from '../support/test-state.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { FakeMaster } from '../volume/fake-master.ts'
import { viewOf } from './model-session.ts'
import type { PoweredNode } from './powered-node.ts'

/**
 * What a master knows and decides, without its queue of jobs. Every server is heard of whenever
 * somebody asks, so that nothing here is older than the question.
 */
export class RealMaster extends FakeMaster implements AsyncDisposable {
  readonly state: TestState
  readonly #nodes: readonly PoweredNode[]
  readonly #moves: NextMoves
  readonly #view: ClusterView
  /** Kinds of the jobs that have not ended, all of them about the one volume. */
  readonly open = new Map<JobKind, JobView>()
  readonly #closing = new AbortController()
  /** Told of every server that something new is to be put on. */
  onChosen: (url: string) => void = () => undefined

  private constructor(state: TestState, nodes: readonly PoweredNode[], seed: number) {
    super()
    this.state = state
    this.#nodes = nodes
    const { cluster } = state
    const membership = { nodes: () => this.#standings(), isMassGone: () => false }
    this.#view = new ClusterView({ ...cluster, membership })
    const parts = { view: this.#view, random: new Prng(seed), busyTest: () => () => false }
    this.#moves = new NextMoves(parts, { spread: 0.1 })
  }

  static async open(
    clock: SimClock,
    nodes: readonly PoweredNode[],
    seed: number,
  ): Promise<RealMaster> {
    return new RealMaster(await TestState.open({ clock }), nodes, seed)
  }

  /** Hears of every server. */
  hear(): void {
    for (const node of this.#nodes) {
      if (node.isUp) this.state.apply(node.beat)
      else this.state.markDown(node.url)
    }
  }

  facts(volumeId: VolumeId): VolumeFacts {
    this.hear()
    const facts = this.#view.facts(volumeId)
    if (facts !== undefined) return facts
    throw new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not known`)
  }

  /** Nothing new goes there from now on, and what is there is to leave. */
  async drain(url: string): Promise<void> {
    await this.state.cluster.standings.setDraining(url, true, SIGNAL)
  }

  noteJob(id: number, kind: JobKind, volumeId: VolumeId): void {
    this.open.set(kind, viewOf(id, { kind, target: { volumeId }, reason: '' }))
  }

  override async lookup(volumeIds: readonly VolumeId[]): Promise<readonly VolumeLocations[]> {
    this.hear()
    return volumeIds.flatMap((id) => this.state.cluster.places.locationsOf(id) ?? [])
  }

  override async *watch(signal: AbortSignal): AsyncGenerator<LocationsUpdate> {
    const ending = AbortSignal.any([signal, this.#closing.signal])
    yield* this.state.cluster.feed.watch(ending)
  }

  override async recordDirty(records: readonly DirtyRecord[]): Promise<void> {
    await this.state.cluster.dirty.record(records, SIGNAL)
  }

  get jobs(): JobsApi {
    const { sets, dirty } = this.state.cluster
    const calls: Partial<JobsApi> = {
      volumeFacts: async (volumeId) => this.facts(volumeId),
      chooseTarget: async (request) => {
        const target = this.#moves.target(this.facts(request.volumeId), request)
        this.onChosen(target.url)
        return target
      },
      chooseShards: async (request) => {
        this.hear()
        const places = this.#moves.shards(request)
        for (const { location } of places) this.onChosen(location.url)
        return places
      },
      nextShardMove: async (volumeId) => {
        const move = this.#moves.shardMove(this.facts(volumeId))
        if (move !== undefined) this.onChosen(move.to.url)
        return move
      },
      changeMembers: async (change, signal) => {
        this.hear()
        return await sets.changeMembers(change, signal)
      },
      changeStripe: async (change, signal) => {
        this.hear()
        return await sets.changeStripe(change, signal)
      },
      listDirty: (request, signal) => dirty.list(request, signal),
      resolveDirty: (id, needles, signal) => dirty.resolve(id, needles, signal),
      noteVacuum: (note, signal) => sets.noteVacuum(note, signal),
      noteScrub: async () => undefined,
      forgetVolume: ({ volumeId }, signal) => sets.forgetVolume(volumeId, signal),
      listJobs: async ({ kind }) => {
        return [...this.open.values()].filter((job) => kind === undefined || job.kind === kind)
      },
    }
    return calls as JobsApi
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.state[Symbol.asyncDispose]()
  }

  #standings() {
    const { state, standings } = this.state.cluster
    return Array.from(state.topology.nodes, ({ location, state: is }) => ({
      location,
      state: is,
      downSinceMs: standings.downSinceMs(location.url),
      downForMs: standings.downForMs(location.url),
      isFlapping: standings.isFlapping(location.url),
      isDraining: standings.isDraining(location.url),
      hasMembers: true,
    }))
  }
}
