import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import { formatTtl } from '../base/ttl.ts'
import { sendJson } from '../net/http-reply.ts'
import type { Topology, TopologyLayout, TopologyNode, VolumeReport } from '../net/master-api.ts'
import type { VolumeApi } from '../net/volume-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { areInSync } from './assess.ts'
import { sendAssignError } from './http-directory.ts'
import { readFlag, readGrowRequest, readShare } from './http-options.ts'
import type { MasterExchange, MasterHttpConfig, MasterHttpParts } from './http-parts.ts'
import { directoryStatus, reachableNodes, volumeStatus } from './http-topology.ts'

export async function answerDirectoryStatus({ api }: MasterHttpParts, exchange: MasterExchange) {
  const topology = await api.topology(exchange.signal)
  const { version } = await api.status(exchange.signal)
  sendJson(exchange.res, 200, directoryStatus(topology, version))
}

export async function answerVolumeStatus({ api }: MasterHttpParts, exchange: MasterExchange) {
  const topology = await api.topology(exchange.signal)
  const { version } = await api.status(exchange.signal)
  sendJson(exchange.res, 200, volumeStatus(topology, version))
}

/** `/vol/grow`: the answer counts copies, not volumes. */
export async function answerGrow(parts: MasterHttpParts, exchange: MasterExchange) {
  try {
    const ids = await parts.api.grow(readGrowRequest(exchange.query), exchange.signal)
    const volumes = await parts.api.lookup(ids, exchange.signal)
    const count = volumes.reduce((sum, { locations }) => sum + locations.length, 0)
    // A copy that was made a moment ago may not have been reported yet.
    sendJson(exchange.res, 200, { count: Math.max(count, ids.length) })
  } catch (error) {
    sendAssignError(parts, exchange, error)
  }
}

/** `/vol/vacuum`: answers when every server has rewritten what has more garbage than this. */
export async function answerVacuum(
  parts: MasterHttpParts,
  config: MasterHttpConfig,
  exchange: MasterExchange,
) {
  const { api } = parts
  const { query, signal } = exchange
  let threshold: number
  try {
    threshold = readShare(query, 'garbageThreshold', config.garbageThreshold)
  } catch (error) {
    sendAssignError(parts, exchange, error)
    return
  }
  const { epoch } = await api.status(signal)
  const nodes = reachableNodes(await api.topology(signal))
  const vacuumOne = (node: TopologyNode) => vacuumNode(parts, node, { threshold, epoch }, signal)
  const atOnce = LIMITS.vacuumServersAtOnce.value
  const failures = (await mapBounded(nodes, atOnce, vacuumOne, signal)).flat()
  const [first] = failures
  if (first !== undefined) {
    const message = `${failures.length} volumes could not be vacuumed; the first: ${first.message}`
    throw new StoreError(first.code, message, { cause: first })
  }
  await answerDirectoryStatus(parts, exchange)
}

interface VacuumOrder {
  readonly threshold: number
  readonly epoch: number
}

async function vacuumNode(
  parts: MasterHttpParts,
  node: TopologyNode,
  order: VacuumOrder,
  signal: AbortSignal,
): Promise<readonly StoreError[]> {
  const failures: StoreError[] = []
  const server = parts.connect(node.location)
  for (const report of node.volumes) {
    const { volumeId, state } = report
    if (state === 'damaged' || state === 'read-only') continue
    try {
      await vacuumVolume(parts, server, { ...order, report }, signal)
    } catch (error) {
      if (!isStoreError(error) || signal.aborted) throw error
      // It was moved or deleted since its server reported it, or someone vacuums it already.
      if (isStoreError(error, 'VOLUME_NOT_FOUND', 'VOLUME_BUSY')) continue
      parts.logger.warn('http.vacuum_failed', { node: node.location.url, volumeId, error })
      failures.push(error)
    }
  }
  return failures
}

async function vacuumVolume(
  { jobs }: MasterHttpParts,
  server: VolumeApi,
  { threshold, epoch, report }: VacuumOrder & { readonly report: VolumeReport },
  signal: AbortSignal,
): Promise<void> {
  const { volumeId, directoryId } = report
  if ((await server.vacuumCheck(volumeId, signal)) <= threshold) return
  const dropsTombstones = await isInSync(jobs, volumeId, signal)
  const command = { epoch, volumeId, dropsTombstones, skipsDamage: false, politeness: 0 }
  let phase = ''
  for await (const step of server.vacuumVolume(command, signal)) phase = step.phase
  if (phase !== 'done') throw new StoreError('PEER_FAILED', `the vacuum of ${volumeId} broke off`)
  if (!dropsTombstones) return
  // An older state of this copy has what was deleted, and would not be told any more.
  const { compactionRevision } = await server.volumeStatus(volumeId, signal)
  await jobs.noteVacuum({ volumeId, directoryId, compactionRevision }, signal)
}

/** Only then nobody has to learn of a delete from this copy. */
async function isInSync(
  jobs: MasterHttpParts['jobs'],
  volumeId: VolumeId,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return areInSync(await jobs.volumeFacts(volumeId, signal))
  } catch (error) {
    if (isStoreError(error, 'VOLUME_NOT_FOUND', 'WARMING_UP')) return false
    throw error
  }
}

/** `/col/delete`: every volume of the collection, on every server. */
export async function answerDeleteCollection({ api }: MasterHttpParts, exchange: MasterExchange) {
  const collection = exchange.query.get('collection') ?? ''
  if (collection === '') throw new StoreError('REQUEST_INVALID', 'no collection is named')
  await api.deleteCollection(collection, exchange.signal)
  exchange.res.writeHead(204)
  exchange.res.end()
}

/** `/collection/info`: sums of a collection, or with `detail` of each of its layouts. */
export async function answerCollectionInfo({ api }: MasterHttpParts, exchange: MasterExchange) {
  const { query, res, signal } = exchange
  const collection = query.get('collection') ?? ''
  const { version } = await api.status(signal)
  const found = (await api.collections(signal)).find((report) => report.collection === collection)
  if (found === undefined) {
    throw new StoreError('COLLECTION_NOT_FOUND', `there is no collection ${quote(collection)}`)
  }
  if (readFlag(query, 'detail')) {
    const topology = await api.topology(signal)
    const layouts = topology.layouts.filter((layout) => layout.collection === collection)
    const body = layouts.map((layout) => layoutEntry(layout, topology, version))
    sendJson(res, 200, body)
    return
  }
  sendJson(res, 200, {
    Version: version,
    Collection: collection,
    TotalSize: found.datBytes,
    FileCount: found.liveNeedles,
    UsedSize: found.liveBytes,
    VolumeCount: found.volumeCount,
  })
}

function layoutEntry(layout: TopologyLayout, topology: Topology, version: string) {
  const ids = new Set<number>(layout.volumeIds)
  const copies = topology.nodes
    .flatMap((node) => node.volumes)
    .filter((volume) => ids.has(volume.volumeId))
  const volumes = new Map<number, VolumeReport>(copies.map((copy) => [copy.volumeId, copy]))
  const sum = (pick: (volume: VolumeReport) => number, of: Iterable<VolumeReport>) =>
    Array.from(of, pick).reduce((total, value) => total + value, 0)
  return {
    Version: version,
    Collection: layout.collection,
    Replication: formatReplicaPlacement(layout.replication),
    Ttl: formatTtl(layout.ttl),
    TotalSize: sum((volume) => volume.datBytes, copies),
    FileCount: sum((volume) => volume.liveNeedles, volumes.values()),
    UsedSize: sum((volume) => volume.liveBytes, volumes.values()),
  }
}
