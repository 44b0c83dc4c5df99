import type { ErasurePolicy } from '../../client/storage-policy.ts'
import type { BucketUsage } from '../../namespace/namespace-api.ts'
import type { ClusterHealth } from '../../net/jobs-api.ts'
import type { NodeLocation, TopologyNode } from '../../net/master-api.ts'

export interface NodeStats {
  readonly region: string
  readonly rack: string
  readonly status: TopologyNode['state']
  readonly volumes: number
  readonly needles: number
  readonly used_bytes: number
  readonly free_bytes: number
  readonly total_bytes: number
}

export interface ClusterStats {
  readonly total_nodes: number
  readonly nodes_by_region: Readonly<Record<string, number>>
  readonly total_objects: number
  readonly total_size: number
  readonly node_stats: Readonly<Record<string, NodeStats>>
}

export interface HealthAnswer {
  readonly status: 'healthy' | 'degraded' | 'error'
  readonly failed_nodes: readonly string[]
  readonly message: string
}

/** Regions are data centres. */
export function clusterStats(nodes: readonly TopologyNode[], usage: BucketUsage): ClusterStats {
  const regions = new Map<string, number>()
  for (const { location } of nodes) {
    regions.set(location.dataCenter, (regions.get(location.dataCenter) ?? 0) + 1)
  }
  return {
    total_nodes: nodes.length,
    nodes_by_region: Object.fromEntries(regions),
    total_objects: usage.objects,
    total_size: usage.bytes,
    node_stats: Object.fromEntries(nodes.map((node) => [node.location.url, nodeStats(node)])),
  }
}

/**
 * `error`: some objects cannot be read, or nobody can say that they can: of erasure-coded ones when
 * more servers are down than may be lost, unless they are all in one place of a wider spread.
 */
export function healthAnswer(
  nodes: readonly Pick<TopologyNode, 'location' | 'state'>[],
  health: ClusterHealth,
  erasure: ErasurePolicy | undefined,
): HealthAnswer {
  const failed = nodes.filter(({ state }) => state === 'down').map(({ location }) => location)
  const names = failed.map(({ url }) => url)
  const answer = (status: HealthAnswer['status'], message: string): HealthAnswer => {
    return { status, failed_nodes: names, message }
  }
  const down = `${failed.length} of ${nodes.length} servers are down`
  if (failed.length === nodes.length) return answer('error', `${down}: nothing can be read`)
  const isLost = erasure === undefined ? health.color === 'red' : !isTolerated(failed, erasure)
  if (isLost) {
    const words = erasure === undefined ? wordsOf(health) : 'more than an object may lose'
    return answer('error', `${down}; some objects may not be readable: ${words}`)
  }
  if (failed.length > 0) return answer('degraded', `${down}; all objects can be read`)
  if (health.isWarming) return answer('degraded', 'the master waits for volume servers')
  if (health.color === 'green') return answer('healthy', 'all servers are up')
  return answer('degraded', wordsOf(health))
}

function isTolerated(failed: readonly NodeLocation[], { scheme, spread }: ErasurePolicy): boolean {
  if (failed.length <= scheme.parityShards) return true
  if (spread === 'servers') return false
  const places = failed.map(({ dataCenter, rack }) => {
    return spread === 'racks' ? `${dataCenter}/${rack}` : dataCenter
  })
  return new Set(places).size === 1
}

function wordsOf(health: ClusterHealth): string {
  const { alerts, volumesBelow, volumesUnavailable } = health
  const parts = [
    ...(volumesUnavailable > 0 ? [`${volumesUnavailable} volumes are out of reach`] : []),
    ...(volumesBelow > 0 ? [`${volumesBelow} volumes are below full redundancy`] : []),
    ...alerts.slice(0, 1).map(({ code, message }) => `${code}: ${message}`),
  ]
  return parts.join('; ') || 'not everything is as it should be'
}

function nodeStats({ disks, location, state, volumes }: TopologyNode): NodeStats {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
  return {
    region: location.dataCenter,
    rack: location.rack,
    status: state,
    volumes: volumes.length,
    needles: sum(volumes.map(({ liveNeedles }) => liveNeedles)),
    used_bytes: sum(volumes.map(({ liveBytes }) => liveBytes)),
    free_bytes: sum(disks.map(({ freeBytes }) => freeBytes)),
    total_bytes: sum(disks.map(({ totalBytes }) => totalBytes)),
  }
}
