import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { deleteFile } from '../jobs/delete-file.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import { DELETE_DELAY_MS } from '../namespace/delete-delay.ts'
import { NamedFiles } from '../namespace/named-files.ts'
import { Namespace } from '../namespace/namespace.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import type { JobsApi } from '../net/jobs-api.ts'
import type {
  AssignRequest,
  ClusterStatistics,
  CollectionReport,
  CollectionSettings,
  DirtyRecord,
  GrowRequest,
  Heartbeat,
  HeartbeatAnswer,
  Lease,
  ListNamesRequest,
  LocationsUpdate,
  MasterApi,
  MasterStatus,
  NamedFile,
  NodeLocation,
  Topology,
  VolumeLocations,
} from '../net/master-api.ts'
import type { ByteRange, ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { Assigner, type LeaseTokens } from './assigner.ts'
import { checkLeader } from './check-leader.ts'
import { type Cluster, openCluster } from './cluster.ts'
import { describeCollections, describeTopology, summarise } from './cluster-report.ts'
import type { ClusterState } from './cluster-state.ts'
import { CollectionDeletes } from './collection-deletes.ts'
import type { MasterConfig } from './config.ts'
import { schemeOf } from './erasure-policy.ts'
import { Growth } from './growth.ts'
import { GrowthAhead } from './growth-ahead.ts'
import type { KnownNodes } from './known-nodes.ts'
import { LeadingStore } from './leading-store.ts'
import type { MasterGauges } from './master-metrics.ts'
import { Membership } from './membership.ts'
import { openRepair, type Repair } from './repair.ts'
import { Sequencer } from './sequencer.ts'
import { createStrategy } from './strategies.ts'
import type { WarmUp } from './warm-up.ts'

/** Makes tokens that allow writes; undefined where the cluster asks for none. */
export interface MasterTokens extends LeaseTokens {
  mintWrite(fileId: FileId, seconds: number): string
  mintRead(fileId: FileId, seconds: number): string
}

export interface MasterParts {
  readonly store: MetadataStore
  readonly coordinator: Coordinator
  readonly connect: ConnectVolume
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly tokens: MasterTokens | undefined
  /** Of this program, for whoever asks. */
  readonly version: string
}

export type MasterOptions = Omit<
  MasterConfig,
  'dir' | 'host' | 'port' | 'grpcPort' | 'publicHost' | 'secret' | 'rootKey' | 'tls' | 'isStandby'
>

const DELETE_TOKEN_S = 60

/** Gateways that have gone are noticed within so much more than their sessions last. */
const SESSIONS_CHECK_MS = 1000

/** Removing a volume of 30 GiB takes a file system seconds. */
const DELETE_VOLUME_MS = 60_000

/** Ids of a block: a few seconds' worth of the highest rate, lost at most once per crash. */
const NEEDLE_BLOCK_COUNT = 100_000

interface Pieces extends Cluster {
  readonly growth: Growth
  readonly ahead: GrowthAhead
  readonly deletes: CollectionDeletes
  readonly membership: Membership
  readonly assigner: Assigner
  readonly names: NamedFiles
  readonly namespace: Namespace
}

/**
 * The master: knows where volumes are, gives out leases, makes volumes, keeps names. What it knows
 * of volumes it knows from heartbeats; what must not be lost is in the metadata store.
 */
export class Master implements MasterApi, AsyncDisposable {
  readonly #parts: MasterParts
  readonly #config: MasterOptions
  readonly #pieces: Pieces
  readonly #repair: Repair
  readonly #owned: DisposeStack

  private constructor(
    parts: MasterParts,
    config: MasterOptions,
    opened: { readonly pieces: Pieces; readonly repair: Repair },
    owned: DisposeStack,
  ) {
    this.#parts = parts
    this.#config = config
    this.#pieces = opened.pieces
    this.#repair = opened.repair
    this.#owned = owned
  }

  /** Store and coordinator stay the caller's, to be closed after this. */
  static async open(
    parts: MasterParts,
    config: MasterOptions,
    signal: AbortSignal,
  ): Promise<Master> {
    await using opening = new DisposeStack()
    const closing = new AbortController()
    const life = { opening, closing: closing.signal }
    const pieces = await openPieces(parts, config, life, signal)
    const { growth, ahead, membership } = pieces
    const hasObjectsToHeal = (stop: AbortSignal) => hasHealWork(pieces.namespace, stop)
    const repairParts = { ...parts, cluster: pieces, membership, hasObjectsToHeal }
    const repair = await openRepair(repairParts, config, life, signal)
    const watching = watchSessions(parts, pieces.namespace, repair, closing.signal)
    opening.defer(() => watching)
    opening.defer(() => growth.drain())
    const running = ahead.run(closing.signal)
    opening.defer(async () => {
      closing.abort()
      ahead.stop()
      await running
    })
    return new Master(parts, config, { pieces, repair }, opening.move())
  }

  /** Jobs, what they work with, and how safe everything is. */
  get jobs(): JobsApi {
    return this.#repair.desk
  }

  /** Buckets and objects. */
  get namespace(): NamespaceApi {
    return this.#pieces.namespace
  }

  get gauges(): MasterGauges {
    const { state, warmUp, membership, feed, growth, ahead, names, namespace } = this.#pieces
    return {
      state,
      isWarming: warmUp.isWarming,
      sessions: membership.sessionCount,
      watchers: feed.watcherCount,
      watchBacklog: feed.backlogMax,
      growthRunning: growth.runningCount,
      growthRemains: growth.remainsCount,
      layoutsInUse: ahead.layoutCount,
      nameDeletesDone: names.deletesDone,
      nameDeletesFailed: names.deletesFailed,
      events: namespace.eventCounts,
      heal: this.#repair.heal.totals,
      readHealth: this.#repair.lastHealth,
      readHeartbeatAges: this.#repair.heartbeatAges,
      nowMs: this.#parts.clock.nowMs(),
    }
  }

  async assign(request: AssignRequest, signal: AbortSignal): Promise<Lease> {
    this.#checkLeader()
    return await this.#pieces.assigner.assign(request, signal)
  }

  async lookup(volumeIds: readonly VolumeId[]): Promise<readonly VolumeLocations[]> {
    const found: VolumeLocations[] = []
    for (const volumeId of new Set(volumeIds)) {
      const locations = this.#pieces.places.locationsOf(volumeId)
      if (locations !== undefined) found.push(locations)
    }
    return found
  }

  watch(signal: AbortSignal): AsyncIterable<LocationsUpdate> {
    return this.#pieces.feed.watch(signal)
  }

  heartbeat(beats: AsyncIterable<Heartbeat>, signal: AbortSignal): AsyncIterable<HeartbeatAnswer> {
    return this.#pieces.membership.heartbeat(beats, signal)
  }

  async grow(request: GrowRequest, signal: AbortSignal): Promise<readonly VolumeId[]> {
    this.#checkLeader()
    const { assigner, collections, growth, warmUp } = this.#pieces
    const { count, collection, replication } = request
    const countMax = LIMITS.growCountMax.value
    if (!Number.isInteger(count) || count < 1 || count > countMax) {
      throw new StoreError('REQUEST_INVALID', `${count} volumes: 1 to ${countMax} at once`)
    }
    warmUp.check()
    assigner.checkPlace(request)
    const key = assigner.layoutKey(request)
    growth.checkPossible(key, request)
    await collections.ensure(collection, replication, signal)
    const made: VolumeId[] = []
    while (made.length < count) made.push(await growth.another(key, request, signal))
    return made
  }

  async topology(): Promise<Topology> {
    const { clusterId } = this.#parts.coordinator
    const { volumeSizeMaxBytes } = this.#config
    return describeTopology(this.#pieces.state, { clusterId, volumeSizeMaxBytes })
  }

  async collections(): Promise<readonly CollectionReport[]> {
    const { state, collections } = this.#pieces
    const erasure = { schemeOf: (name: string) => schemeOf(collections, name, this.#config) }
    return describeCollections(state, collections, erasure)
  }

  async deleteCollection(collection: string, signal: AbortSignal): Promise<void> {
    this.#checkLeader()
    await this.#pieces.deletes.delete(collection, signal)
  }

  async configureCollection(settings: CollectionSettings, signal: AbortSignal): Promise<void> {
    this.#checkLeader()
    await this.#pieces.collections.configure(settings, signal)
  }

  async recordDirty(records: readonly DirtyRecord[], signal: AbortSignal): Promise<void> {
    this.#checkLeader()
    await this.#pieces.dirty.record(records, signal)
  }

  async statistics(): Promise<ClusterStatistics> {
    return summarise(this.#pieces.state)
  }

  async status(): Promise<MasterStatus> {
    const { coordinator } = this.#parts
    const isLeader = coordinator.isLeader()
    return {
      isLeader,
      leader: coordinator.leader,
      epoch: coordinator.epoch,
      isWarming: this.#pieces.warmUp.isWarming,
      version: this.#parts.version,
      clusterId: coordinator.clusterId,
    }
  }

  async linkName(file: Omit<NamedFile, 'modifiedAtMs'>, signal: AbortSignal): Promise<NamedFile> {
    this.#checkLeader()
    return await this.#pieces.names.link(file, signal)
  }

  async resolveName(name: string, signal: AbortSignal): Promise<NamedFile> {
    return await this.#pieces.names.resolve(name, signal)
  }

  async unlinkName(name: string, signal: AbortSignal): Promise<NamedFile> {
    this.#checkLeader()
    return await this.#pieces.names.unlink(name, signal)
  }

  async listNames(request: ListNamesRequest, signal: AbortSignal): Promise<readonly NamedFile[]> {
    return await this.#pieces.names.list(request, signal)
  }

  /** Ends the sessions and watches, and waits for what is under way. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }

  #checkLeader(): void {
    checkLeader(this.#parts.coordinator)
  }
}

async function openPieces(
  parts: MasterParts,
  config: MasterOptions,
  life: { readonly opening: DisposeStack; readonly closing: AbortSignal },
  signal: AbortSignal,
): Promise<Pieces> {
  const { clock, random, coordinator, connect, tokens } = parts
  const { opening, closing } = life
  const cluster = await openCluster(parts, config, life, signal)
  const { state, known, warmUp } = cluster
  const running = { ...parts, ...cluster, closing }
  const sequencer = new Sequencer(
    { blocks: coordinator, logger: parts.logger, closing },
    { blockCount: NEEDLE_BLOCK_COUNT },
  )
  const growth = new Growth(running, config.growth)
  const ahead = new GrowthAhead({ ...running, growth }, config.growth)
  const deletes = new CollectionDeletes(
    { ...running, growth, ahead },
    { deleteMs: DELETE_VOLUME_MS },
  )
  const membership = new Membership({ ...running, sequencer, ahead }, config)
  const strategy = createStrategy(config.strategy, {
    nodes: () => upNodes(state),
    assigned: state.assigned,
    random,
  })
  const assigner = new Assigner({ ...running, growth, ahead, sequencer, strategy, tokens }, config)
  const deleteNamed = fileDeleter({ state, warmUp, known, connect, tokens })
  const names = opening.use(
    await NamedFiles.open(
      { ...parts, clock, deleteFile: deleteNamed },
      { deleteDelayMs: DELETE_DELAY_MS },
    ),
  )
  // Its files are deleted with those of names: the intents are the same rows.
  const store = new LeadingStore(parts.store, coordinator)
  const namespace = new Namespace(
    { store, clock, random, logger: parts.logger },
    { deleteDelayMs: DELETE_DELAY_MS },
  )
  return { ...cluster, growth, ahead, deletes, membership, assigner, names, namespace }
}

/** A few reads: whether a write was given up, or an object lacks something. */
async function hasHealWork(namespace: NamespaceApi, signal: AbortSignal): Promise<boolean> {
  const first = { after: '', limit: 1 }
  if ((await namespace.listDirty(first, signal)).objects.length > 0) return true
  return (await namespace.listIntents(first, signal)).intents.length > 0
}

/** What a gateway that has gone leaves behind is seen to at once. */
async function watchSessions(
  { clock }: Pick<MasterParts, 'clock'>,
  { sessions }: Pick<Namespace, 'sessions'>,
  { heal }: Pick<Repair, 'heal'>,
  closing: AbortSignal,
): Promise<void> {
  sessions.onEnd(() => heal.request('a gateway has gone'))
  while (!closing.aborted) {
    sessions.expire()
    await clock.sleep(SESSIONS_CHECK_MS, closing).catch(() => 'closing')
  }
}

function* upNodes(state: ClusterState) {
  for (const node of state.topology.nodes) if (node.state === 'up') yield node
}

interface DeleterParts {
  readonly state: ClusterState
  readonly warmUp: WarmUp
  readonly known: KnownNodes
  readonly connect: ConnectVolume
  readonly tokens: MasterTokens | undefined
}

/**
 * Any server that holds the volume takes the delete, and passes it on to the others. Nothing is
 * left to delete when nobody holds the volume, and everybody who could is here to say so.
 */
function fileDeleter({ state, warmUp, known, connect, tokens }: DeleterParts) {
  const isHere = (url: string) => (state.topology.node(url)?.state ?? 'down') !== 'down'
  const locate = (volumeId: VolumeId): NodeLocation => {
    const [location] = state.locations(volumeId)
    if (location !== undefined) return location
    warmUp.check()
    const isGone = !state.hasVolume(volumeId) && [...known.urls].every(isHere)
    if (isGone) throw new StoreError('NEEDLE_NOT_FOUND', `volume ${volumeId} is gone`)
    throw new StoreError('UNAVAILABLE', `no server with volume ${volumeId} can be reached`)
  }
  const read = async (fileId: FileId, range: ByteRange | undefined, signal: AbortSignal) => {
    const readToken = tokens?.mintRead(fileId, DELETE_TOKEN_S) ?? ''
    const request = { fileId, range, readDeleted: false, readToken }
    return await connect(locate(fileId.volumeId)).read(request, signal)
  }
  const deleteNeedle = async (fileId: FileId, signal: AbortSignal): Promise<void> => {
    const writeToken = tokens?.mintWrite(fileId, DELETE_TOKEN_S) ?? ''
    try {
      const server = connect(locate(fileId.volumeId))
      await server.delete({ fileId, writeToken, isReplica: false }, signal)
    } catch (error) {
      if (!isStoreError(error, 'NEEDLE_NOT_FOUND')) throw error
    }
  }
  return (fileId: FileId, signal: AbortSignal) => deleteFile({ read, deleteNeedle }, fileId, signal)
}
