import { StoreError } from '../base/store-error.ts'
import { sendJson } from '../net/http-reply.ts'
import type { ClusterStatistics, MasterStatus, Topology } from '../net/master-api.ts'
import type { MasterExchange, MasterHttpConfig, MasterHttpParts } from './http-parts.ts'
import { shardCountOf } from './http-topology.ts'

/** `/cluster/status`: what is false or empty is left out. */
export async function answerClusterStatus(
  { api }: MasterHttpParts,
  { grpcPort }: MasterHttpConfig,
  { res, signal }: MasterExchange,
) {
  const { isLeader, leader } = await api.status(signal)
  const { maxVolumeId } = await api.topology(signal)
  sendJson(res, 200, {
    ...(isLeader ? { IsLeader: true } : {}),
    // Only of itself does a master know the gRPC port.
    ...(leader === '' ? {} : { Leader: isLeader ? `${leader}.${grpcPort}` : leader }),
    ...(maxVolumeId === 0 ? {} : { MaxVolumeId: maxVolumeId }),
  })
}

/** `/healthz`: the process answers. */
export async function answerAlive({ res }: MasterExchange) {
  sendJson(res, 200, { status: 'ok' })
}

/** `/cluster/healthz`: there is a leader. */
export async function answerHasLeader({ api }: MasterHttpParts, { res, signal }: MasterExchange) {
  checkLeader(await api.status(signal))
  sendJson(res, 200, { status: 'ok' })
}

/** `/readyz`: this master can do what it is asked for. */
export async function answerReady({ api }: MasterHttpParts, { res, signal }: MasterExchange) {
  const status = await api.status(signal)
  checkLeader(status)
  if (status.isWarming) {
    throw new StoreError('WARMING_UP', 'the master waits for its volume servers')
  }
  sendJson(res, 200, { status: 'ok' })
}

/** `/cluster/health`: 200 whatever it says, for it was asked and has answered. */
export async function answerHealth({ jobs }: MasterHttpParts, { res, signal }: MasterExchange) {
  sendJson(res, 200, await jobs.health(signal))
}

/** `/metrics`, in the text format of Prometheus. */
export async function answerMetrics({ metrics }: MasterHttpParts, { res }: MasterExchange) {
  const text = Buffer.from(await metrics.text())
  res.writeHead(200, { 'Content-Type': metrics.contentType, 'Content-Length': text.length })
  res.end(text)
}

/** `/` and `/ui/index.html`: what one wants to know at a glance, without scripts. */
export async function answerPage({ api }: MasterHttpParts, { res, signal }: MasterExchange) {
  const [status, statistics, topology] = await Promise.all([
    api.status(signal),
    api.statistics(signal),
    api.topology(signal),
  ])
  const page = Buffer.from(statusPage(status, statistics, topology))
  res.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Length': page.length,
    'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'",
    'X-Content-Type-Options': 'nosniff',
  })
  res.end(page)
}

function checkLeader({ leader }: MasterStatus): void {
  if (leader === '') throw new StoreError('NOT_LEADER', 'the cluster has no leader now')
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;
padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;
border-bottom:1px solid #8884}td.n,th.n{text-align:right}`

function statusPage(
  status: MasterStatus,
  statistics: ClusterStatistics,
  topology: Topology,
): string {
  const facts: [string, string][] = [
    ['Leader', status.leader === '' ? 'none' : status.leader],
    ['Epoch', String(status.epoch)],
    ['State', status.isWarming ? 'waiting for volume servers' : 'ready'],
    ['Cluster', status.clusterId],
    ['Version', status.version],
    ['Volume servers up', `${statistics.nodesUp} of ${statistics.nodeCount}`],
    ['Volumes', String(statistics.volumeCount)],
    ['Volumes at risk', String(statistics.volumesAtRisk)],
    ['Files', String(statistics.liveNeedles)],
    ['Bytes in files', formatBytes(statistics.liveBytes)],
    ['Garbage', formatBytes(statistics.garbageBytes)],
    ['Free', `${formatBytes(statistics.freeBytes)} of ${formatBytes(statistics.totalBytes)}`],
  ]
  const rows = facts.map(
    ([name, value]) => `<tr><th>${name}</th><td>${escapeHtml(value)}</td></tr>`,
  )
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Hayloft</title><style>${STYLE}</style></head>
<body><h1>Hayloft</h1>
<table>${rows.join('\n')}</table>
<h2>Volume servers</h2>
<table><tr><th>Server</th><th>Data centre</th><th>Rack</th><th>State</th><th class="n">Volumes</th>
<th class="n">Shards</th><th class="n">Free</th></tr>
${topology.nodes.map(nodeRow).join('\n')}
</table></body></html>
`
}

function nodeRow(node: Topology['nodes'][number]): string {
  const { location, state, volumes, disks } = node
  const freeBytes = disks.reduce((sum, disk) => sum + disk.freeBytes, 0)
  const cells = [location.url, location.dataCenter, location.rack, state]
  const numbers = [String(volumes.length), String(shardCountOf(node)), formatBytes(freeBytes)]
  return `<tr>${cells.map((text) => `<td>${escapeHtml(text)}</td>`).join('')}${numbers
    .map((text) => `<td class="n">${text}</td>`)
    .join('')}</tr>`
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${BYTE_UNITS[unit]}`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
