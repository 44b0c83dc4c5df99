import { expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { type ClusterView, statusDocument, statusLines } from '../../src/cli/status-report.ts'
import type { TopologyNode } from '../../src/net/master-api.ts'

const REPLICATION = { otherDataCenters: 0, otherRacks: 0, otherServers: 1 }

function node(port: number, state: TopologyNode['state'] = 'up'): TopologyNode {
  const url = `127.0.0.1:${port}`
  const volume = {
    volumeId: volumeId(1),
    collection: '',
    replication: REPLICATION,
    ttl: TTL_NONE,
    state: 'writable' as const,
    reason: '',
    liveNeedles: 1200,
    liveBytes: 3 * 1024 ** 2,
    garbageBytes: 1024,
    datBytes: 4 * 1024 ** 2,
    compactionRevision: 0,
    directoryId: 'd',
    modifiedAtS: 0,
    digest: '',
  }
  const disk = {
    directoryId: 'd',
    path: '/d',
    totalBytes: 2 * 1024 ** 4,
    freeBytes: 1024 ** 4,
    reserveBytes: 0,
    quarantinedCount: 0,
  }
  const grpcAddress = `127.0.0.1:${port + 10_000}`
  return {
    location: { url, publicUrl: url, grpcAddress, dataCenter: 'dc1', rack: 'r1' },
    state,
    lastHeardMs: 0,
    disks: [disk],
    volumes: [volume, { ...volume, volumeId: volumeId(2) }],
    inFlightCount: 0,
  }
}

function view(change: {
  readonly nodes?: readonly TopologyNode[]
  readonly volumesAtRisk?: number
  readonly leader?: string
  readonly isWarming?: boolean
}): ClusterView {
  const { volumesAtRisk = 0, leader = '127.0.0.1:9333', isWarming = false } = change
  const nodes = change.nodes ?? [node(8080), node(18_081)]
  return {
    status: { isLeader: true, leader, epoch: 3, isWarming, version: '0.1.0', clusterId: 'c0ffee' },
    statistics: {
      nodeCount: nodes.length,
      nodesUp: nodes.filter(({ state }) => state === 'up').length,
      volumeCount: 2,
      liveNeedles: 2400,
      liveBytes: 6 * 1024 ** 2,
      garbageBytes: 2048,
      totalBytes: 4 * 1024 ** 4,
      freeBytes: 2 * 1024 ** 4,
      volumesAtRisk,
    },
    topology: { clusterId: 'c0ffee', nodes, layouts: [], maxVolumeId: 2, volumeSizeMaxBytes: 1 },
  }
}

test('a healthy cluster is a line of health and a table', () => {
  expect(statusLines(view({}))).toEqual([
    'healthy: every volume has all its copies',
    'cluster c0ffee, leader 127.0.0.1:9333, epoch 3',
    '',
    'NODE             STATE  PLACE   VOLUMES  FILES   LIVE  GARBAGE   FREE',
    '127.0.0.1:8080   up     dc1/r1        2   2400  6 MiB    2 KiB  1 TiB',
    '127.0.0.1:18081  up     dc1/r1        2   2400  6 MiB    2 KiB  1 TiB',
    '',
    '2 volumes, 2400 files, 6 MiB live, 2 KiB garbage; 2 TiB of 4 TiB free',
  ])
})

test.each([
  [{ nodes: [node(1), node(2, 'down')] }, 'at risk: 1 of 2 nodes are not up'],
  [{ volumesAtRisk: 3 }, 'at risk: 3 volumes have fewer copies than they should'],
  [{ leader: '' }, 'at risk: there is no leader'],
  [
    { isWarming: true, nodes: [node(1, 'leaving')] },
    'at risk: the master waits for its volume servers; 1 of 1 nodes are not up',
  ],
])('%j is told as what it is', (change, line) => {
  expect(statusLines(view(change))[0]).toBe(line)
  expect(statusDocument(view(change))).toMatchObject({ healthy: false })
})

test('the document has the same facts for programs', () => {
  expect(statusDocument(view({}))).toMatchObject({
    healthy: true,
    clusterId: 'c0ffee',
    leader: '127.0.0.1:9333',
    liveNeedles: 2400,
    nodes: [
      { url: '127.0.0.1:8080', state: 'up', volumes: 2, liveNeedles: 2400, freeBytes: 1024 ** 4 },
      { url: '127.0.0.1:18081' },
    ],
  })
})
