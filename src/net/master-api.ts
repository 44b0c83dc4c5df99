import type { ErasureScheme } from '../base/erasure-scheme.ts'
import type { FileId } from '../base/file-id.ts'
import type { NeedleId, VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import type { Ttl } from '../base/ttl.ts'
import type { ShardReport, StripeLocations } from './stripe-facts.ts'

/** Where a volume server can be reached, and where it stands. */
export interface NodeLocation {
  /** Names the server in the cluster: host and HTTP port as other servers reach it. */
  readonly url: string
  /** Host and HTTP port as clients reach it. */
  readonly publicUrl: string
  /** Host and port of its gRPC. */
  readonly grpcAddress: string
  readonly dataCenter: string
  readonly rack: string
}

/**
 * `all`: a write counts when every copy has it. `best-effort`: also when only some have it durably
 * and the master has recorded durably that the others lack it.
 */
export type WritePolicy = 'all' | 'best-effort'

export interface VolumeLocations {
  readonly volumeId: VolumeId
  readonly collection: string
  readonly writePolicy: WritePolicy
  /**
   * Servers that hold the volume now, or any of its shards: each of them can answer for it. Empty:
   * it is known, but out of reach.
   */
  readonly locations: readonly NodeLocation[]
  /** Of an erasure-coded volume. */
  readonly stripe?: StripeLocations | undefined
}

/** What a caller may ask of the volume that is assigned. */
export interface AssignRequest {
  /** Consecutive needle ids: 1 to `LIMITS.assignCountMax`. */
  readonly count: number
  readonly collection: string
  /** Undefined: the collection's own, else the cluster's. */
  readonly replication: ReplicaPlacement | undefined
  readonly ttl: Ttl
  /** Only volumes with a copy there; empty: anywhere. */
  readonly dataCenter: string
  readonly rack: string
  /** The `url` of a server. */
  readonly node: string
  /** Volumes that failed the caller just now. */
  readonly excludedVolumeIds: readonly VolumeId[]
  /** Bytes the caller expects to write for each id; 0: not known. */
  readonly dataBytes: number
  /** What the `ring` strategy hashes; empty: by chance. */
  readonly key: string
}

/**
 * Needle ids `first` up to `first + count - 1` of one volume, the caller's alone, for ever. They
 * were made durable as given out before this was answered, so no other caller ever gets one.
 */
export interface Lease {
  readonly volumeId: VolumeId
  readonly firstNeedleId: NeedleId
  readonly count: number
  readonly locations: readonly NodeLocation[]
  /** Allows writes of these ids; empty when the cluster asks for none. */
  readonly writeToken: string
  /** Ask for a new lease after this long: the volume may be full or gone by then. */
  readonly validMs: number
}

export interface GrowRequest
  extends Omit<AssignRequest, 'count' | 'dataBytes' | 'key' | 'excludedVolumeIds'> {
  /** Volumes to make. */
  readonly count: number
}

/** First all locations known (`isSnapshot`), then what changes. A volume named again replaces. */
export interface LocationsUpdate {
  readonly isSnapshot: boolean
  readonly volumes: readonly VolumeLocations[]
  readonly removedVolumeIds: readonly VolumeId[]
}

/** As in `VolumeStats.state` of the engine. */
export type ReportedVolumeState = 'writable' | 'sealed' | 'read-only' | 'failed' | 'damaged'

export interface VolumeReport {
  readonly volumeId: VolumeId
  readonly collection: string
  readonly replication: ReplicaPlacement
  readonly ttl: Ttl
  readonly state: ReportedVolumeState
  /** Why it is failed or damaged; empty otherwise. */
  readonly reason: string
  readonly liveNeedles: number
  readonly liveBytes: number
  readonly garbageBytes: number
  readonly datBytes: number
  readonly compactionRevision: number
  readonly directoryId: string
  readonly modifiedAtS: number
  /**
   * The same for two copies with the same live needles (id and size), whatever their order. 16 hex
   * digits; empty while it is not known.
   */
  readonly digest: string
  /** Reads and writes a second of late, to two digits; 0: hardly any. */
  readonly requestsPerS: number
}

export interface DiskReport {
  readonly directoryId: string
  readonly path: string
  readonly totalBytes: number
  readonly freeBytes: number
  /** Puts are refused when no more than this is free. */
  readonly reserveBytes: number
  /** What was found there and could not be taken into service. */
  readonly quarantinedCount: number
  /** The cluster whose volumes these are; empty: none yet. */
  readonly clusterId: string
}

export interface Heartbeat {
  readonly node: NodeLocation
  /** `volumes` is all there is. Otherwise it is what changed since the last one. */
  readonly isFull: boolean
  readonly volumes: readonly VolumeReport[]
  readonly removedVolumeIds: readonly VolumeId[]
  /** As `volumes`; one without any shard is there no more. */
  readonly shards?: readonly ShardReport[] | undefined
  readonly disks: readonly DiskReport[]
  /** No needle here has a higher id. */
  readonly highestNeedleId: NeedleId
  /** Requests under way. */
  readonly inFlightCount: number
  /** Highest epoch this server has obeyed. */
  readonly epoch: number
  /** The server is shutting down: nothing new for it. */
  readonly isLeaving: boolean
}

export interface HeartbeatAnswer {
  readonly isLeader: boolean
  /** HTTP address of the leader; empty: there is none now. */
  readonly leader: string
  /** 0 unless `isLeader`. Only a leader's epoch may be obeyed and persisted. */
  readonly epoch: number
  readonly intervalMs: number
  readonly volumeSizeMaxBytes: number
  /** Of a leader: directories without a cluster belong to this one from now on. */
  readonly clusterId: string
}

/** Why a needle may differ between copies: a put or a delete that not all got, or a bad read. */
export type DirtyKind = 'put' | 'delete' | 'check'

/** Told by a volume server; see `MasterApi.recordDirty`. */
export interface DirtyRecord {
  readonly volumeId: VolumeId
  readonly needleId: NeedleId
  readonly kind: DirtyKind
  /** The server that tells. */
  readonly reportedBy: string
  /** Urls of servers out of reach with it; empty: they answered, or nobody was asked. */
  readonly unreached: readonly string[]
}

export interface CollectionSettings {
  readonly collection: string
  /** For volumes to come; undefined: as it is. Those there are change by `set-replication`. */
  readonly replication: ReplicaPlacement | undefined
  /** Undefined: as it is. */
  readonly writePolicy: WritePolicy | undefined
  /** How volumes are erasure-coded once they are full; undefined: as it is. */
  readonly erasure?: ErasureScheme | 'off' | undefined
}

export interface TopologyNode {
  readonly location: NodeLocation
  readonly state: 'up' | 'leaving' | 'down'
  readonly lastHeardMs: number
  readonly disks: readonly DiskReport[]
  readonly volumes: readonly VolumeReport[]
  readonly shards?: readonly ShardReport[] | undefined
  readonly inFlightCount: number
  /** 0 unless it is down. */
  readonly downSinceMs: number
  /** Comes and goes too often to be given anything new. */
  readonly isFlapping: boolean
  /** Is being emptied, and given nothing new. */
  readonly isDraining: boolean
}

/** Volumes of one collection, replication and TTL. */
export interface TopologyLayout {
  readonly collection: string
  readonly replication: ReplicaPlacement
  readonly ttl: Ttl
  readonly volumeIds: readonly VolumeId[]
  readonly writableVolumeIds: readonly VolumeId[]
}

export interface Topology {
  readonly clusterId: string
  readonly nodes: readonly TopologyNode[]
  readonly layouts: readonly TopologyLayout[]
  readonly maxVolumeId: number
  readonly volumeSizeMaxBytes: number
}

export interface CollectionReport {
  readonly collection: string
  readonly volumeCount: number
  /** Live needles and bytes, every needle counted once however many copies it has. */
  readonly liveNeedles: number
  readonly liveBytes: number
  /** Bytes on all disks, copies and garbage included. */
  readonly datBytes: number
  /** Undefined: the cluster's. */
  readonly replication: ReplicaPlacement | undefined
  readonly writePolicy: WritePolicy
  /** Undefined: its volumes are not erasure-coded by themselves. */
  readonly erasure?: ErasureScheme | undefined
}

export interface ClusterStatistics {
  readonly nodeCount: number
  readonly nodesUp: number
  readonly volumeCount: number
  readonly liveNeedles: number
  readonly liveBytes: number
  readonly garbageBytes: number
  readonly totalBytes: number
  readonly freeBytes: number
  /** Volumes with fewer copies up than they should have, or failed or damaged ones. */
  readonly volumesAtRisk: number
}

export interface MasterStatus {
  readonly isLeader: boolean
  readonly leader: string
  readonly epoch: number
  readonly isWarming: boolean
  readonly version: string
  readonly clusterId: string
}

/** A file that is known by a name of the user's, 1 to 1024 bytes. */
export interface NamedFile {
  readonly name: string
  readonly fileId: FileId
  readonly dataBytes: number
  readonly modifiedAtMs: number
}

export interface ListNamesRequest {
  readonly prefix: string
  /** Names above this one only, in the order of their UTF-8 bytes; empty: from the first. */
  readonly after: string
  /** 1 to `LIMITS.listNamesMax`. */
  readonly limit: number
}

/**
 * What a master does for volume servers and clients. The master implements it; `RemoteMaster`
 * reaches one over gRPC. Every method rejects with a `StoreError`, among them CANCELLED when
 * `signal` aborts, UNAVAILABLE and TIMEOUT when the master is remote.
 */
export interface MasterApi {
  /** @throws {StoreError} NO_WRITABLE_VOLUME, PLACEMENT_IMPOSSIBLE, WARMING_UP, NOT_LEADER. */
  assign(request: AssignRequest, signal: AbortSignal): Promise<Lease>

  /** One entry for each id that is known, in no particular order; unknown ones are left out. */
  lookup(volumeIds: readonly VolumeId[], signal: AbortSignal): Promise<readonly VolumeLocations[]>

  /** Ends with an error when this watcher is too slow; then start again. */
  watch(signal: AbortSignal): AsyncIterable<LocationsUpdate>

  /** One stream for each volume server and master. The first heartbeat is full. */
  heartbeat(beats: AsyncIterable<Heartbeat>, signal: AbortSignal): AsyncIterable<HeartbeatAnswer>

  /** The ids of the volumes made. @throws {StoreError} PLACEMENT_IMPOSSIBLE, NOT_LEADER. */
  grow(request: GrowRequest, signal: AbortSignal): Promise<readonly VolumeId[]>

  topology(signal: AbortSignal): Promise<Topology>

  collections(signal: AbortSignal): Promise<readonly CollectionReport[]>

  /**
   * Deletes every volume of a collection on every server.
   *
   * @throws {StoreError} COLLECTION_NOT_FOUND, NOT_LEADER; UNAVAILABLE: a server that holds some of
   * it cannot be reached.
   */
  deleteCollection(collection: string, signal: AbortSignal): Promise<void>

  /**
   * Makes the collection if there is none. Durable when it returns.
   *
   * @throws {StoreError} REQUEST_INVALID: no collection can have this name. NOT_LEADER.
   */
  configureCollection(settings: CollectionSettings, signal: AbortSignal): Promise<void>

  /**
   * These needles may differ between the copies of their volumes. Durable when it returns: they are
   * made equal as soon as the copies can be reached, whoever restarts meanwhile. A delete wins over
   * a put. While a volume has any, nothing new is assigned to it.
   *
   * @throws {StoreError} REQUEST_INVALID: more than `LIMITS.dirtyRecordsMax` at once. NOT_LEADER,
   * OVERLOADED.
   */
  recordDirty(records: readonly DirtyRecord[], signal: AbortSignal): Promise<void>

  statistics(signal: AbortSignal): Promise<ClusterStatistics>

  status(signal: AbortSignal): Promise<MasterStatus>

  /**
   * Lets `name` mean this file from now on; durable when it returns. The file it meant before is
   * deleted afterwards, durably intended with the same change.
   *
   * @throws {StoreError} NAME_INVALID, NOT_LEADER.
   */
  linkName(file: Omit<NamedFile, 'modifiedAtMs'>, signal: AbortSignal): Promise<NamedFile>

  /** @throws {StoreError} NAME_INVALID, NAME_NOT_FOUND. */
  resolveName(name: string, signal: AbortSignal): Promise<NamedFile>

  /** Forgets the name and deletes its file. @throws {StoreError} NAME_INVALID, NAME_NOT_FOUND. */
  unlinkName(name: string, signal: AbortSignal): Promise<NamedFile>

  listNames(request: ListNamesRequest, signal: AbortSignal): Promise<readonly NamedFile[]>
}
