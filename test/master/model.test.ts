import { expect, test } from 'vitest'
import { compareNeedleIds, needleIdToBigInt, type VolumeId } from '../../src/base/ids.ts'
import { copyCount, parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { Lease, LocationsUpdate } from '../../src/net/master-api.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { IS_MODEL_LANE, Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { NO_SIGNAL, TestMaster } from '../support/test-master.ts'

const RESERVE = 16 * MIB
/** `npm run model:all` takes more. */
const MASTERS = IS_MODEL_LANE ? 200 : 60
const PLACEMENTS = ['000', '001'].map(parseReplicaPlacement)

/** Room that the master knows of and would make a volume on, for this many copies in one rack. */
function hasRoom(servers: readonly FakeVolumeServer[], copies: number): boolean {
  const roomy = servers.filter((server) => {
    const isUsable = server.isConnected && server.fault === 'none' && !server.isLeaving
    return isUsable && server.roomBytes >= 64 * MIB
  })
  return roomy.length >= copies
}

/** Writes what was leased to all its copies; false when a server could not take it. */
function write(cluster: TestMaster, lease: Lease, bytes: number): boolean {
  const holders = lease.locations.map(({ url }) =>
    cluster.servers.find((server) => server.location.url === url),
  )
  return holders.every((server) => server?.write(lease.volumeId, bytes * lease.count) === true)
}

async function changeSomething(cluster: TestMaster, prng: Prng, step: number): Promise<void> {
  const server = prng.pick(cluster.servers)
  const choice = prng.below(10)
  if (choice === 0 && cluster.servers.length < 8) {
    await cluster.add(`late-${step}:1`, { totalBytes: 600 * MIB, reserveBytes: RESERVE })
  } else if (choice === 1) {
    server.leave()
  } else if (choice <= 3 && !server.isConnected) {
    server.join(cluster.master, NO_SIGNAL)
  } else if (choice === 4) {
    server.fault = prng.pick(['fails', 'hangs', 'does-and-fails', 'none', 'none'])
  } else if (choice === 5) {
    server.fault = 'none'
  }
  await cluster.beat(prng.between(1, 4000))
}

// Goal: an assign never fails while some servers have room for its copies; no id is given twice; a
// watcher's folded view is what the topology says. Method: random clusters whose servers fill up,
// join, leave and fail; compare after every step. The model
// gives each server 48 MiB more than the master asks for: what was leased and not written counts.
test.each(seeds(40))('assigns as long as there is room (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  const strategy = prng.pick(['ring', 'least-used', 'random'])
  const config = { volumeSizeMaxBytes: 64 * MIB, strategy, heartbeatMs: 10_000 }
  await using cluster = await TestMaster.open({ seed, config })
  for (let index = prng.between(1, 4); index > 0; index--) {
    await cluster.add(`s${index}:1`, { totalBytes: 600 * MIB, reserveBytes: RESERVE })
  }
  const watching = new AbortController()
  const view = new Map<VolumeId, readonly string[]>()
  const watched = fold(cluster.master.watch(watching.signal), view)
  let highest = 0n
  let failures = 0
  for (let step = 0; step < 120; step++) {
    if (prng.chance(0.4)) await changeSomething(cluster, prng, step)
    const replication = prng.pick(PLACEMENTS)
    const dataBytes = prng.pick([0, 1024, MIB])
    const request = { replication, dataBytes, count: prng.between(1, 8), key: `k${step}` }
    const isPossible = hasRoom(cluster.servers, copyCount(replication))
    try {
      const lease = await cluster.assign(request)
      expect(lease.locations).toHaveLength(copyCount(replication))
      expect(new Set(lease.locations.map(({ url }) => url)).size).toBe(lease.locations.length)
      const first = needleIdToBigInt(lease.firstNeedleId)
      expect(first).toBeGreaterThan(highest)
      highest = first + BigInt(lease.count) - 1n
      write(cluster, lease, dataBytes === 0 ? 1024 : dataBytes)
    } catch (error) {
      if (!isStoreError(error, 'NO_WRITABLE_VOLUME', 'PLACEMENT_IMPOSSIBLE')) throw error
      failures++
      expect(isPossible, `${error.message} at step ${step}`).toBe(false)
    }
    if (prng.chance(0.3)) await cluster.beat()
    await expectViewIsTrue(cluster, view)
  }
  expect(failures).toBeLessThan(120)
  watching.abort()
  await expect(watched).rejects.toMatchObject({ code: 'CANCELLED' })
})

async function fold(
  updates: AsyncIterable<LocationsUpdate>,
  view: Map<VolumeId, readonly string[]>,
) {
  for await (const { isSnapshot, volumes, removedVolumeIds } of updates) {
    if (isSnapshot) view.clear()
    for (const id of removedVolumeIds) view.delete(id)
    for (const { volumeId, locations } of volumes) {
      view.set(volumeId, locations.map(({ url }) => url).sort())
    }
  }
}

async function expectViewIsTrue(
  cluster: TestMaster,
  view: ReadonlyMap<VolumeId, readonly string[]>,
): Promise<void> {
  await cluster.clock.advance(0)
  const truth = new Map<VolumeId, string[]>()
  const { nodes, layouts } = await cluster.master.topology()
  // What is left of a volume that failed to come to be is no volume.
  const known = new Set(layouts.flatMap((layout) => layout.volumeIds))
  for (const node of nodes) {
    for (const { volumeId } of node.volumes) {
      if (!known.has(volumeId)) continue
      const urls = truth.get(volumeId) ?? []
      if (node.state !== 'down') urls.push(node.location.url)
      truth.set(volumeId, urls.sort())
    }
  }
  expect(new Map([...view].sort(([a], [b]) => a - b))).toEqual(
    new Map([...truth].sort(([a], [b]) => a - b)),
  )
}

test(`${MASTERS} masters on one store, one after the other, give no id twice`, async () => {
  const prng = new Prng(1)
  const servers = [new FakeVolumeServer('a:1')]
  const store = new MemoryStore()
  const clock = new SimClock()
  let end = 0n
  for (let epoch = 1; epoch <= MASTERS; epoch++) {
    const cluster = await TestMaster.open({ store, clock, servers })
    servers[0]?.join(cluster.master, NO_SIGNAL)
    expect((await cluster.master.status()).epoch).toBe(epoch)
    const asking = Array.from({ length: prng.between(1, 5) }, () =>
      cluster.assign({ count: prng.between(1, 10_000) }),
    )
    const leases = await Promise.all(asking)
    leases.sort((a, b) => compareNeedleIds(a.firstNeedleId, b.firstNeedleId))
    for (const { firstNeedleId, count } of leases) {
      const first = needleIdToBigInt(firstNeedleId)
      expect(first).toBeGreaterThanOrEqual(end)
      end = first + BigInt(count)
    }
    await cluster[Symbol.asyncDispose]()
  }
})
