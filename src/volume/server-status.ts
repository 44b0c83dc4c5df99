import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { ttlToBytes } from '../base/ttl.ts'
import type { DiskReport, VolumeReport } from '../net/master-api.ts'
import type { VolumeReports } from './volume-report.ts'

/** What `GET /status` answers: the member names are those clients of the dialect look for. */
export function statusMembers(reports: VolumeReports, version: string): object {
  const disks = reports.disks()
  const volumes = reports.all().sort((a, b) => a.volumeId - b.volumeId)
  return {
    Version: version,
    DiskStatuses: disks.map(diskMembers),
    Volumes: volumes.map((volume) => volumeMembers(volume, disks)),
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
    DiskId: disks.findIndex(({ directoryId }) => directoryId === volume.directoryId),
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

/** Members of no copies are left out. */
function placementMembers({ replication }: VolumeReport): object {
  const { otherServers, otherRacks, otherDataCenters } = replication
  return {
    node: otherServers || undefined,
    rack: otherRacks || undefined,
    dc: otherDataCenters || undefined,
  }
}
