import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { GIB } from '../../src/base/units.ts'
import { MemberAlerts } from '../../src/master/member-alerts.ts'
import { Membership } from '../../src/master/membership.ts'
import {
  placementServers,
  type Steadiness,
  shardServers,
} from '../../src/master/placement-servers.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { type FakeServerOptions, FakeVolumeServer } from '../support/fake-volume-server.ts'
import { NO_SIGNAL } from '../support/test-master.ts'
import { CLUSTER_ID, TestState, type TestStateOptions } from '../support/test-state.ts'

const TWO = parseReplicaPlacement('001')
const DAY = 86_400_000

async function open(options: TestStateOptions = {}) {
  const sim = await TestState.open(options)
  const { clock, cluster } = sim
  const coordinator = { isLeader: () => true, leader: '', epoch: 1, clusterId: CLUSTER_ID }
  const parts = { ...cluster, coordinator, clock, logger: silentLogger, closing: NO_SIGNAL }
  const membership = new Membership(
    {
      ...parts,
      sequencer: { noteReported: () => undefined },
      ahead: { onServersChanged: () => undefined },
    },
    {
      heartbeatMs: 5000,
      volumeSizeMaxBytes: GIB,
      forgetNodeMs: 7 * DAY,
      repair: { massShare: 0.2 },
    },
  )
  const alerts = new MemberAlerts({ ...cluster, membership, clock })
  const join = async (url: string, volumes: number[], fake: FakeServerOptions = {}) => {
    const server = new FakeVolumeServer(url, fake)
    for (const id of volumes) server.addVolume({ volumeId: volumeId(id), replication: TWO })
    const stream = server.join(membership, NO_SIGNAL)
    while (stream.answers.length === 0) await clock.advance(0)
    return server
  }
  const rejoin = async (server: FakeVolumeServer) => {
    server.join(membership, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await clock.advance(0)
  }
  const leave = async (server: FakeVolumeServer) => {
    server.leave()
    await clock.advance(0)
  }
  const codes = () => alerts.list().map(({ code }) => code)
  return { sim, ...cluster, clock, membership, alerts, join, rejoin, leave, codes }
}

/** Six servers with a volume of two copies on each neighbouring pair. */
async function sixServers(options: TestStateOptions = {}) {
  const opened = await open(options)
  const servers: FakeVolumeServer[] = []
  for (let index = 0; index < 6; index++) {
    servers.push(await opened.join(`s${index}:1`, [index + 1, ((index + 5) % 6) + 1]))
  }
  return { ...opened, servers }
}

function urlsOf(cluster: { state: TestState['cluster']['state'] }, id: number): string[] {
  return cluster.state.locations(volumeId(id)).map(({ url }) => url)
}

describe('many servers down at once', () => {
  test('one of six is no mass, two are; an alert says since when, until one is back', async () => {
    const { servers, membership, alerts, codes, leave, rejoin, clock } = await sixServers()
    const [a, b] = servers as [FakeVolumeServer, FakeVolumeServer]
    await leave(a)
    expect([membership.isMassGone(), codes()]).toEqual([false, []])
    const sinceMs = clock.nowMs()
    await clock.advance(1000)
    await leave(b)
    await clock.advance(1000)
    expect(membership.isMassGone()).toBe(true)
    expect(alerts.list()).toMatchObject([{ code: 'MASS_DISAPPEARANCE', sinceMs }])
    await rejoin(b)
    expect([membership.isMassGone(), codes()]).toEqual([false, []])
  })

  test('are no mass any more when they are declared lost and their copies count no more', async () => {
    const { servers, membership, leave, sets } = await sixServers()
    const gone = servers.filter((_server, index) => index % 3 === 0)
    for (const server of gone) await leave(server)
    expect(membership.isMassGone()).toBe(true)
    for (const server of gone) await membership.forgetNode(server.location.url, NO_SIGNAL)
    expect(membership.isMassGone()).toBe(false)
    const counts = Array.from(sets.allFacts(), ({ members }) => members.length)
    expect(counts.every((count) => count === 1 || count === 2)).toBe(true)
    expect(counts.filter((count) => count === 1)).toHaveLength(4)
  })

  test('count although this master has not heard of them since its start', async () => {
    const before = await sixServers()
    const { store, clock } = before.sim
    await clock.advance(2000)
    const { membership, rejoin } = await open({ store, clock, isWarm: false })
    const back = before.servers.slice(0, 4)
    for (const server of back) await rejoin(server)
    expect(membership.isMassGone()).toBe(false)
    for (let beat = 0; beat < 6; beat++) {
      await clock.advance(5000)
      for (const server of back) server.sendBeat()
    }
    expect(membership.isMassGone()).toBe(true)
    const down = membership.nodes().filter((node) => node.state === 'down')
    expect(down.map((node) => [node.location.rack, node.hasMembers])).toEqual([
      ['r1', true],
      ['r1', true],
    ])
  })
})

describe('a server declared lost', () => {
  test('must be known and down; its copies are lost at once, a last one for as long as it is', async () => {
    const { servers, membership, leave, rejoin, sets, ...cluster } = await sixServers()
    const [a, b] = servers as [FakeVolumeServer, FakeVolumeServer]
    await expect(membership.forgetNode('x:1', NO_SIGNAL)).rejects.toMatchObject({
      code: 'NODE_NOT_FOUND',
    })
    await expect(membership.forgetNode('s0:1', NO_SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    await leave(a)
    await leave(b)
    await membership.forgetNode('s0:1', NO_SIGNAL)
    // Volume 6 is on s5 as well; volume 1 only on s1, which is down.
    expect(sets.facts(volumeId(6))?.members.map(({ location }) => location.url)).toEqual(['s5:1'])
    expect(sets.facts(volumeId(1))?.members).toMatchObject([{ isLost: true }, { isLost: false }])
    await rejoin(b)
    expect(urlsOf(cluster, 1)).toEqual(['s1:1'])
    await rejoin(a)
    expect(urlsOf(cluster, 1)).toEqual(['s0:1', 's1:1'])
    expect(urlsOf(cluster, 6)).toEqual(['s5:1'])
    expect(sets.facts(volumeId(6))?.strays.map(({ location }) => location.url)).toEqual(['s0:1'])
  })

  test('back after eight days has strays only where others have the volume', async () => {
    const { servers, leave, rejoin, sets, clock, sim, ...cluster } = await sixServers()
    const a = servers[0] ?? expect.fail()
    await leave(a)
    clock.jumpWallClock(8 * DAY)
    // Every server is heard of, so that the hour passes with all but one up.
    for (let hour = 0; hour < 730; hour++) {
      await clock.advance(5000)
      for (const server of servers.slice(1)) server.sendBeat()
    }
    await clock.advance(0)
    expect(sets.facts(volumeId(1))?.members.map(({ location }) => location.url)).toEqual(['s1:1'])
    await rejoin(a)
    expect([urlsOf(cluster, 1), urlsOf(cluster, 6)]).toEqual([['s1:1'], ['s5:1']])
    expect(sets.facts(volumeId(1))?.strays).toHaveLength(1)
    await sim[Symbol.asyncDispose]()
    const again = await TestState.open({ store: sim.store, clock })
    expect(again.cluster.sets.facts(volumeId(1))?.members).toHaveLength(1)
  })

  test('back after a day is as it was', async () => {
    const { servers, leave, rejoin, clock, ...cluster } = await sixServers()
    const a = servers[0] ?? expect.fail()
    await leave(a)
    clock.jumpWallClock(DAY)
    await rejoin(a)
    expect(urlsOf(cluster, 1)).toEqual(['s0:1', 's1:1'])
  })
})

describe('alerts', () => {
  test('name foreign and double directories, old copies, epochs, full disks and broken links', async () => {
    const { join, rejoin, codes, links, sets, alerts, clock, leave } = await open()
    const a = await join('a:1', [7])
    const b = await join('b:1', [7])
    await clock.advance(10_000)
    await rejoin(a)
    expect(codes()).toEqual([])
    const foreign = await join('f:1', [9], { clusterId: 'f'.repeat(32) })
    const twin = await join('t:1', [7], { directoryId: a.directoryId })
    await sets.noteVacuum(
      { volumeId: volumeId(7), directoryId: b.directoryId, compactionRevision: 1 },
      NO_SIGNAL,
    )
    links.note('a:1', ['b:1'])
    a.seenEpoch = 2
    b.usedBytes = 100 * GIB
    for (const server of [a, b, foreign, twin]) await rejoin(server)
    links.note('a:1', ['b:1'])
    const found = [
      'DIRECTORY_FOREIGN',
      'DIRECTORY_TWICE',
      'DISK_FULL',
      'COPY_OUTDATED',
      'LINK_BROKEN',
      'EPOCH_BEHIND',
    ]
    const first = alerts.list()
    expect(first.map(({ code }) => code)).toEqual(found)
    await clock.advance(5000)
    expect(alerts.list()).toEqual(first)
    await leave(foreign)
    await leave(twin)
    b.usedBytes = 0
    a.seenEpoch = 1
    b.addVolume({ volumeId: volumeId(7), replication: TWO, compactionRevision: 1 })
    await rejoin(a)
    await rejoin(b)
    expect(codes()).toEqual([])
  })

  test('of one kind are at most eleven, the last one a count', async () => {
    const { join, alerts } = await open()
    for (let index = 0; index < 15; index++) {
      await join(`f${index}:1`, [], { clusterId: 'f'.repeat(32) })
    }
    const found = alerts.list()
    expect(found).toHaveLength(11)
    expect(found.at(-1)?.message).toBe('and 5 more')
  })
})

test('targets for copies are up, steady, not being emptied, and have room for all of it', async () => {
  const { join, membership, state, leave, rejoin, clock } = await open()
  const servers: FakeVolumeServer[] = []
  for (const url of ['ok:1', 'full:1', 'flaps:1', 'drains:1', 'leaves:1', 'down:1']) {
    servers.push(await join(url, []))
  }
  const [, full, flaps, , leaves, down] = servers as FakeVolumeServer[]
  if (full !== undefined) full.usedBytes = 99 * GIB
  for (let round = 0; round < 3 && flaps !== undefined; round++) {
    await leave(flaps)
    await clock.advance(1)
    await rejoin(flaps)
  }
  await membership.setDraining('drains:1', true, NO_SIGNAL)
  if (leaves !== undefined) leaves.isLeaving = true
  for (const server of servers) server.sendBeat()
  await clock.advance(0)
  if (down !== undefined) await leave(down)
  const found = placementServers(state, { roomMinBytes: 2 * GIB, steadiness: 'steady' })
  expect(found.map(({ location, roomBytes }) => [location.url, roomBytes > 0])).toEqual([
    ['ok:1', true],
    ['full:1', false],
  ])
  // One that flaps is better than none.
  const any = placementServers(state, { roomMinBytes: 2 * GIB, steadiness: 'any' })
  expect(any.map(({ location }) => location.url)).toEqual(['ok:1', 'full:1', 'flaps:1'])
  const urlsFor = (steadiness: Steadiness): readonly string[] =>
    shardServers(state, steadiness).map(({ location }) => location.url)
  expect(urlsFor('steady')).toEqual(['ok:1', 'full:1'])
  expect(urlsFor('any')).toEqual(['ok:1', 'full:1', 'flaps:1'])
})
