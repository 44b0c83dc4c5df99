import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { ttlToBytes } from '../base/ttl.ts'
import type { DiskReport, VolumeReport } from '../net/master-api.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import type { VolumeReports } from './volume-report.ts'

/** What `GET /status` answers: the member names are those clients of the dialect look for. */
export function statusMembers(reports: VolumeReports, version: string): object {
  const disks = reports.disks()
  const volumes = reports.all().sort((a, b) => a.volumeId - b.volumeId)
  return {
    Version: version,
    DiskStatuses: disks.map(diskMembers),
    Volumes: volumes.map((volume) => volumeMembers(volume, disks)),
    Shards: reports
      .shards()
      .sort(byVolume)
      .map((report) => shardMembers(report, disks)),
  }
}

function diskMembers({ path, totalBytes, freeBytes }: DiskReport): object {
  const usedBytes = Math.max(0, totalBytes - freeBytes)
  const percent = (bytes: number): number => (totalBytes === 0 ? 0 : (100 * bytes) / totalBytes)
  return {
    dir: path,
    all: totalBytes,
    used: usedBytes,
    free: freeBytes,
    percent_free: percent(freeBytes),
    percent_used: percent(usedBytes),
    disk_type: 'hdd',
  }
}

function volumeMembers(volume: VolumeReport, disks: readonly DiskReport[]): object {
  const [count, unit] = ttlToBytes(volume.ttl)
  return {
    Id: volume.volumeId,
    Size: volume.datBytes,
    ReplicaPlacement: placementMembers(volume),
    Replication: formatReplicaPlacement(volume.replication),
    Ttl: { Count: count, Unit: unit },
    DiskType: '',
    DiskId: diskIdOf(volume, disks),
    Collection: volume.collection,
    Version: 3,
    FileCount: volume.liveNeedles,
    DeletedByteCount: volume.garbageBytes,
    ReadOnly: volume.state !== 'writable',
    CompactRevision: volume.compactionRevision,
    ModifiedAtSecond: volume.modifiedAtS,
    State: volume.state,
    Reason: volume.reason === '' ? undefined : volume.reason,
  }
}

function shardMembers(report: ShardReport, disks: readonly DiskReport[]): object {
  return {
    Id: report.volumeId,
    Collection: report.collection,
    RunId: report.runId,
    DiskId: diskIdOf(report, disks),
    Scheme: formatErasureScheme(report),
    Shards: report.shards,
    BadShards: report.badShards,
    ShardSize: report.shardBytes,
    FileCount: report.liveNeedles,
    DeletedByteCount: report.garbageBytes,
    ModifiedAtSecond: report.modifiedAtS,
  }
}

function byVolume(a: ShardReport, b: ShardReport): number {
  return a.volumeId - b.volumeId || a.runId.length - b.runId.length || (a.runId < b.runId ? -1 : 1)
}

function diskIdOf(
  { directoryId }: { readonly directoryId: string },
  disks: readonly DiskReport[],
): number {
  return disks.findIndex((disk) => disk.directoryId === directoryId)
}

/** Members of no copies are left out. */
function placementMembers({ replication }: VolumeReport): object {
  const { otherServers, otherRacks, otherDataCenters } = replication
  return {
    node: otherServers || undefined,
    rack: otherRacks || undefined,
    dc: otherDataCenters || undefined,
  }
}
