import { expect, test } from 'vitest'
import { type ErrorCode, isStoreError } from '../../src/base/store-error.ts'
import { KIB } from '../../src/base/units.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { FakeCluster, type Fault } from '../support/client-cluster.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const SERVERS = 4
const VOLUMES = 8
const ROUNDS = 60
const WRITERS = 4

const TRANSIENT: readonly ErrorCode[] = ['UNAVAILABLE', 'TIMEOUT', 'OVERLOADED', 'VOLUME_BUSY']
const REFUSALS: readonly ErrorCode[] = [
  'VOLUME_FULL',
  'VOLUME_SEALED',
  'DISK_FULL',
  'VOLUME_FAILED',
]
const LOST: readonly ErrorCode[] = ['UNAVAILABLE', 'TIMEOUT', 'REPLICATION_FAILED']

// Goal: nothing that was acknowledged is lost or comes back wrong, no id is used twice (the fake
// servers throw), and nothing a caller was not told of stays, whatever servers and answers do.
// Method: random operations against a map of what should be there; faults, moves, broken streams.
// Replay: SEED=17 npx vitest run test/client/client-model.test.ts
test.each(seeds(60))('the cluster holds what the client acknowledged (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  const cluster = new FakeCluster({
    servers: SERVERS,
    volumes: VOLUMES,
    copies: prng.between(1, 3),
  })
  cluster.choose = (volumes) => prng.pick(volumes)
  cluster.master.validMs = prng.pick([200, 1000, 10_000])
  const clock = new SimClock()
  const { connect, master } = cluster
  const parts = { master, connect, clock, random: prng, logger: silentLogger }
  const client = HayloftClient.over(parts)
  const model = new Map<string, Buffer>()
  const rate = prng.pick([0, 0.02, 0.1, 0.3])
  cluster.fault = (operation) => {
    if (operation === 'lookup' && prng.chance(rate)) return fault('before', 'UNAVAILABLE')
    if (operation === 'assign' && prng.chance(rate)) return fault('before', 'WARMING_UP')
    if (operation === 'put' && prng.chance(rate)) return putFault(prng)
    if (operation === 'read' && prng.chance(rate)) return fault('before', prng.pick(TRANSIENT))
    if (operation === 'delete' && prng.chance(rate)) {
      return fault(prng.pick(['before', 'after']), prng.pick(LOST))
    }
    return undefined
  }
  let isOver = false
  const workers = Array.from({ length: WRITERS }, () => work(client, model, prng))
  const all = Promise.all(workers).finally(() => {
    isOver = true
  })
  for (let turn = 0; !isOver; turn++) {
    expect(turn, 'the work comes to an end').toBeLessThan(100_000)
    await clock.advance(prng.between(1, 50))
    if (prng.chance(0.02)) disturb(cluster, prng)
  }
  await all
  cluster.fault = () => undefined
  await clock.advance(1000) // The sweeper's turns.
  await clock.advance(200_000)
  const expected = new Set<Buffer>()
  for (const [fileId, data] of model) {
    const reading = client.get(fileId)
    await clock.advance(5000)
    expect((await reading).data.equals(data), fileId).toBe(true)
    expected.add(data)
  }
  expect(expected.size).toBe(model.size)
  if (rate === 0) expect(cluster.liveNeedles().size).toBe(needleCount(model))
  const ending = client[Symbol.asyncDispose]()
  await clock.advance(1000)
  await ending
  expect(clock.timerCount).toBe(0)
})

async function work(client: HayloftClient, model: Map<string, Buffer>, prng: Prng): Promise<void> {
  const mine: string[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const fileId = mine.length === 0 ? undefined : prng.pick(mine)
    try {
      if (fileId === undefined || prng.chance(0.5)) {
        const put = await putSomething(client, prng)
        expect(model.has(put.fileId)).toBe(false)
        model.set(put.fileId, put.data)
        mine.push(put.fileId)
      } else if (prng.chance(0.7)) {
        await readBack(client, fileId, model.get(fileId) as Buffer, prng)
      } else {
        // What a delete that failed has left is not known.
        mine.splice(mine.indexOf(fileId), 1)
        model.delete(fileId)
        await client.delete(fileId)
        const found = await client.get(fileId).catch((error: unknown) => error)
        if (isStoreError(found, ...TRANSIENT)) throw found
        expect(found).toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
      }
    } catch (error) {
      // Only what may pass may be the end of an operation: nothing that says the data is wrong.
      if (!isStoreError(error, ...TRANSIENT, ...REFUSALS, ...LOST, 'WARMING_UP')) throw error
    }
  }
}

async function putSomething(client: HayloftClient, prng: Prng) {
  const size = prng.chance(0.2) ? prng.between(KIB, 8 * KIB) : prng.below(KIB)
  const data = prng.bytes(size)
  const source = prng.chance(0.5) ? data : inPieces(data, prng.between(1, 3000))
  const { fileId, sizeBytes } = await client.put(source, { chunkBytes: KIB })
  expect(sizeBytes).toBe(size)
  return { fileId, data }
}

async function readBack(
  client: HayloftClient,
  fileId: string,
  data: Buffer,
  prng: Prng,
): Promise<void> {
  const start = prng.between(0, data.length)
  const range = prng.chance(0.5) ? undefined : { start, end: prng.between(start, data.length) }
  const wanted = range === undefined ? data : data.subarray(range.start, range.end)
  if (prng.chance(0.5)) {
    expect((await client.get(fileId, { range })).data.equals(wanted)).toBe(true)
    return
  }
  const pieces: Uint8Array[] = []
  for await (const piece of client.getStream(fileId, { range })) pieces.push(piece)
  expect(Buffer.concat(pieces).equals(wanted)).toBe(true)
}

function disturb(cluster: FakeCluster, prng: Prng): void {
  const kind = prng.below(4)
  if (kind === 0) cluster.master.breakWatches()
  if (kind === 1) cluster.master.isWatchDown = prng.chance(0.5)
  const volume = prng.pick([...cluster.volumes.values()])
  if (kind === 2) volume.isWritable = !volume.isWritable || prng.chance(0.3)
  if (kind !== 3) return
  const from = prng.pick([...volume.urls])
  const others = [...cluster.servers.keys()].filter((url) => !volume.urls.has(url))
  if (others.length > 0) cluster.move(volume.id, from, prng.pick(others))
}

function putFault(prng: Prng): Fault {
  const kind = prng.below(3)
  if (kind === 0) return fault('before', prng.pick(TRANSIENT))
  if (kind === 1) return fault('before', prng.pick(REFUSALS))
  return fault('after', prng.pick(LOST))
}

function fault(when: Fault['when'], code: ErrorCode): Fault {
  return { when, code }
}

function needleCount(model: ReadonlyMap<string, Buffer>): number {
  let count = 0
  for (const { length } of model.values()) count += length <= KIB ? 1 : Math.ceil(length / KIB) + 1
  return count
}

async function* inPieces(data: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes)
}
