import { expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import {
  type ClusterView,
  nodeState,
  statusDocument,
  statusLines,
} from '../../src/cli/status-report.ts'
import type { ClusterHealth } from '../../src/net/jobs-api.ts'
import type { TopologyNode } from '../../src/net/master-api.ts'
import { SHARD_REPORT } from '../support/fake-shards.ts'
import { makeHealth } from '../support/job-views.ts'

const REPLICATION = { otherDataCenters: 0, otherRacks: 0, otherServers: 1 }

const NOW_MS = Date.UTC(2026, 10, 21)

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
    requestsPerS: 0,
  }
  const disk = {
    directoryId: 'd',
    path: '/d',
    totalBytes: 2 * 1024 ** 4,
    freeBytes: 1024 ** 4,
    reserveBytes: 0,
    quarantinedCount: 0,
    clusterId: 'c0ffee',
  }
  const grpcAddress = `127.0.0.1:${port + 10_000}`
  return {
    location: { url, publicUrl: url, grpcAddress, dataCenter: 'dc1', rack: 'r1' },
    state,
    lastHeardMs: 0,
    disks: [disk],
    volumes: [volume, { ...volume, volumeId: volumeId(2) }],
    inFlightCount: 0,
    downSinceMs: 0,
    isFlapping: false,
    isDraining: false,
  }
}

function view(health: ClusterHealth = makeHealth()): ClusterView {
  const nodes = [node(8080), node(18_081)]
  const leader = '127.0.0.1:9333'
  const isWarming = false
  return {
    status: { isLeader: true, leader, epoch: 3, isWarming, version: '0.1.0', clusterId: 'c0ffee' },
    statistics: {
      nodeCount: 2,
      nodesUp: 2,
      volumeCount: 2,
      liveNeedles: 2400,
      liveBytes: 6 * 1024 ** 2,
      garbageBytes: 2048,
      totalBytes: 4 * 1024 ** 4,
      freeBytes: 2 * 1024 ** 4,
      volumesAtRisk: 0,
    },
    topology: { clusterId: 'c0ffee', nodes, layouts: [], maxVolumeId: 2, volumeSizeMaxBytes: 1 },
    health,
    nowMs: NOW_MS,
  }
}

test('a healthy cluster is a line of health and a table', () => {
  expect(statusLines(view())).toEqual([
    'green: healthy, every volume has all its copies',
    'cluster c0ffee, leader 127.0.0.1:9333, epoch 3',
    '',
    'NODE             STATE  PLACE   VOLUMES  FILES   LIVE  GARBAGE   FREE',
    '127.0.0.1:8080   up     dc1/r1        2   2400  6 MiB    2 KiB  1 TiB',
    '127.0.0.1:18081  up     dc1/r1        2   2400  6 MiB    2 KiB  1 TiB',
    '',
    '2 volumes, 2400 files, 6 MiB live, 2 KiB garbage; 2 TiB of 4 TiB free',
    'jobs: 0 running, 0 waiting, 0 failing; no repairs so far; longest without a check 0 s',
  ])
})

test('servers tell of their shards, once there are some', () => {
  const [first, second] = [node(8080), node(18_081)]
  const shards = [
    { ...SHARD_REPORT, shards: [0, 3, 13] },
    { ...SHARD_REPORT, directoryId: 'e', shards: [1] },
  ]
  const { topology, ...rest } = view()
  const nodes = [
    { ...first, shards },
    { ...second, shards: [] },
  ]
  const coded = { ...rest, topology: { ...topology, nodes } }
  expect(statusLines(coded).slice(3, 6)).toEqual([
    'NODE             STATE  PLACE   VOLUMES  FILES   LIVE  GARBAGE   FREE  SHARDS',
    '127.0.0.1:8080   up     dc1/r1        2   2400  6 MiB    2 KiB  1 TiB       4',
    '127.0.0.1:18081  up     dc1/r1        2   2400  6 MiB    2 KiB  1 TiB       0',
  ])
  expect(statusDocument(coded)).toMatchObject({ nodes: [{ shards: 4 }, { shards: 0 }] })
})

test.each(['yellow', 'red'] as const)('%s is not healthy', (color) => {
  const unhealthy = view(makeHealth({ color, nodesUp: 2 }))
  expect(statusLines(unhealthy)[0]).toBe(`${color}: 1 of 3 servers are not up`)
  expect(statusDocument(unhealthy)).toMatchObject({ healthy: false, health: { color } })
})

test('a cluster without a leader is red', () => {
  const { status, ...rest } = view()
  const leaderless = { ...rest, status: { ...status, leader: '' }, health: undefined }
  const [line, cluster] = statusLines(leaderless)
  expect([line, cluster]).toEqual([
    'red: there is no leader',
    'cluster c0ffee, leader none, epoch 3',
  ])
  expect(statusDocument(leaderless)).toMatchObject({ healthy: false })
})

test.each([
  [{}, 'up'],
  [{ state: 'leaving' }, 'leaving'],
  [{ state: 'down', downSinceMs: NOW_MS - 240_000 }, 'down 4 min'],
  [{ isFlapping: true, isDraining: true }, 'up, flapping, draining'],
] as const)('a server with %j is %o', (change, text) => {
  expect(nodeState({ ...node(1), ...change }, NOW_MS)).toBe(text)
})

test('the document has the same facts for programs', () => {
  expect(statusDocument(view())).toMatchObject({
    healthy: true,
    health: { color: 'green', alerts: [] },
    clusterId: 'c0ffee',
    leader: '127.0.0.1:9333',
    liveNeedles: 2400,
    nodes: [
      { url: '127.0.0.1:8080', state: 'up', volumes: 2, liveNeedles: 2400, freeBytes: 1024 ** 4 },
      { url: '127.0.0.1:18081', isFlapping: false, isDraining: false },
    ],
  })
})
