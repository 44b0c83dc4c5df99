import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, TTL_NONE, ttlToBytes } from '../base/ttl.ts'
import type { Topology, TopologyNode, VolumeReport } from '../net/master-api.ts'

/** Capacity is in bytes here; the dialect counts volumes of full size. */
interface Slots {
  readonly Max: number
  readonly Free: number
}

const VOLUME_FORMAT_VERSION = 3
const SHARDS_PER_SLOT = 10

/** The body of `/dir/status`. Servers that are down are left out: nothing can be had from them. */
export function directoryStatus(topology: Topology, version: string) {
  const nodes = reachableNodes(topology)
  return {
    Topology: {
      ...sumSlots(nodes, topology),
      DataCenters: groupBy(nodes, (node) => node.location.dataCenter).map(([Id, inCenter]) => ({
        Id,
        Racks: groupBy(inCenter, (node) => node.location.rack).map(([Id, inRack]) => ({
          Id,
          DataNodes: inRack.map((node) => nodeEntry(node, topology)),
        })),
      })),
      Layouts: topology.layouts.map((layout) => ({
        replication: formatReplicaPlacement(layout.replication),
        ttl: formatTtl(layout.ttl),
        writables: layout.writableVolumeIds,
        collection: layout.collection,
        diskType: '',
      })),
    },
    TopologyId: topology.clusterId,
    Version: version,
  }
}

/** The body of `/vol/status`. */
export function volumeStatus(topology: Topology, version: string) {
  const nodes = reachableNodes(topology)
  const DataCenters = Object.fromEntries(
    groupBy(nodes, (node) => node.location.dataCenter).map(([dataCenter, inCenter]) => [
      dataCenter,
      Object.fromEntries(
        groupBy(inCenter, (node) => node.location.rack).map(([rack, inRack]) => [
          rack,
          Object.fromEntries(
            inRack.map(({ location, volumes }) => [location.url, volumes.map(volumeEntry)]),
          ),
        ]),
      ),
    ]),
  )
  return { Version: version, Volumes: { ...sumSlots(nodes, topology), DataCenters } }
}

export function reachableNodes(topology: Topology): readonly TopologyNode[] {
  return topology.nodes.filter((node) => node.state !== 'down')
}

function nodeEntry(node: TopologyNode, topology: Topology) {
  return {
    Url: node.location.url,
    PublicUrl: node.location.publicUrl,
    Volumes: node.volumes.length,
    EcShards: shardCountOf(node),
    Max: slotsOf(node, topology).Max,
    VolumeIds: formatIdRanges(node.volumes.map((volume) => volume.volumeId)),
  }
}

function volumeEntry(volume: VolumeReport) {
  const { otherDataCenters, otherRacks, otherServers } = volume.replication
  const [Count, Unit] = ttlToBytes(volume.ttl ?? TTL_NONE)
  return {
    Collection: volume.collection,
    DiskType: '',
    RemoteStorageName: '',
    ReplicaPlacement: {
      ...(otherServers === 0 ? {} : { node: otherServers }),
      ...(otherRacks === 0 ? {} : { rack: otherRacks }),
      ...(otherDataCenters === 0 ? {} : { dc: otherDataCenters }),
    },
    Ttl: { Count, Unit },
    Size: volume.datBytes,
    DeletedByteCount: volume.garbageBytes,
    ModifiedAtSecond: volume.modifiedAtS,
    Id: volume.volumeId,
    DiskId: 0,
    CompactRevision: volume.compactionRevision,
    FileCount: volume.liveNeedles,
    DeleteCount: 0,
    Version: VOLUME_FORMAT_VERSION,
    ReadOnly: volume.state !== 'writable',
  }
}

function sumSlots(nodes: readonly TopologyNode[], topology: Topology): Slots {
  let Max = 0
  let Free = 0
  for (const node of nodes) {
    const slots = slotsOf(node, topology)
    Max += slots.Max
    Free += slots.Free
  }
  return { Max, Free }
}

function slotsOf(node: TopologyNode, { volumeSizeMaxBytes }: Topology): Slots {
  let Free = 0
  for (const { freeBytes, reserveBytes } of node.disks) {
    Free += Math.max(0, Math.floor((freeBytes - reserveBytes) / volumeSizeMaxBytes))
  }
  // In the dialect ten shards take the place of a volume.
  const taken = node.volumes.length + Math.ceil(shardCountOf(node) / SHARDS_PER_SLOT)
  return { Max: taken + Free, Free }
}

/** Of coded volumes, whether they count or not. */
export function shardCountOf({ shards = [] }: TopologyNode): number {
  return shards.reduce((sum, report) => sum + report.shards.length, 0)
}

/** ` 1-3 5`: ascending, each range after a space. */
function formatIdRanges(ids: readonly number[]): string {
  const sorted = [...ids].sort((a, b) => a - b)
  let text = ''
  for (let index = 0; index < sorted.length; index++) {
    const first = sorted[index] ?? 0
    while (sorted[index + 1] === (sorted[index] ?? 0) + 1) index++
    const last = sorted[index] ?? 0
    text += first === last ? ` ${first}` : ` ${first}-${last}`
  }
  return text
}

/** In the order of the keys. */
function groupBy<Item>(items: readonly Item[], keyOf: (item: Item) => string): [string, Item[]][] {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [item])
    else group.push(item)
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1))
}
