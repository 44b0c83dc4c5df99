import { afterAll, beforeAll, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { DoorProcess } from '../support/door-processes.ts'
import { type HttpAnswer, jsonOf, viaFetch } from '../support/http-clients.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

// Goal: documents take as many bytes as their strategies promise, and an update of hot fields takes
// next to none.
// Method: six volume servers; what they have is counted where they count it themselves. Nothing is
// deleted before the last test: what is appended is what was written.

const SERVERS = 6
const DOCUMENTS = 10
const COLD_BYTES = 800_000
const KIB = 1024

let owned: DisposeStack
let door: DoorProcess

beforeAll(async () => {
  await using opening = new DisposeStack()
  const { path } = opening.use(await openTempDirectory())
  // Chores would change what is counted.
  const flags = ['--heal-interval', 'off', '--garbage-threshold', '1']
  door = opening.use(await DoorProcess.ofServer(path, { flags, volumeServers: SERVERS }))
  owned = opening.move()
})

afterAll(async () => {
  await owned?.[Symbol.asyncDispose]()
})

interface Stored {
  /** In the files of volumes, headers and all. */
  readonly bytes: number
  /** Copies and shards each count. */
  readonly needles: number
}

interface StatusVolume {
  readonly Collection: string
  readonly Size: number
  readonly FileCount: number
}

/** By collection, as the volume servers say. */
async function storedNow(): Promise<Record<'documents' | 'documents-coded', Stored>> {
  const nodes = jsonOf(await viaFetch(`${door.restUrl}/node_status`)) as object
  expect(Object.keys(nodes).length).toBe(SERVERS)
  const volumes: StatusVolume[] = []
  for (const node of Object.keys(nodes)) {
    const status = jsonOf(await viaFetch(`http://${node}/status`))
    volumes.push(...(status as { readonly Volumes: readonly StatusVolume[] }).Volumes)
  }
  const sumOf = (collection: string): Stored => {
    const own = volumes.filter((volume) => volume.Collection === collection)
    return {
      bytes: own.reduce((sum, { Size }) => sum + Size, 0),
      needles: own.reduce((sum, { FileCount }) => sum + FileCount, 0),
    }
  }
  return { documents: sumOf('documents'), 'documents-coded': sumOf('documents-coded') }
}

/** Bytes that are more now than they were. */
async function grownSince(before: Awaited<ReturnType<typeof storedNow>>): Promise<number> {
  const now = await storedNow()
  const total = (stored: typeof before): number =>
    stored.documents.bytes + stored['documents-coded'].bytes
  return total(now) - total(before)
}

function documentOf(index: number): Record<string, unknown> {
  const hot = {
    like_count: index,
    view_count: 10 * index,
    inventory_count: 7,
    update_count: 0,
    status_code: 200,
    battery_level: 99,
  }
  return { ...hot, content: String(index).repeat(COLD_BYTES).slice(0, COLD_BYTES) }
}

function keyOf(strategy: string, index: number): string {
  return `${strategy}/${index}`
}

async function write(query: string, value: object): Promise<HttpAnswer> {
  const call = { headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) }
  const answer = await viaFetch(`${door.restUrl}/write?${query}`, call)
  expect(answer.status).toBe(200)
  return answer
}

async function usageNow(): Promise<Record<string, number>> {
  return jsonOf(await viaFetch(`${door.restUrl}/storage_usage`)) as Record<string, number>
}

const STRATEGIES = [
  { strategy: 'replication', factor: 3, factorMax: 3.01 },
  { strategy: 'ec', factor: 1.5, factorMax: 1.51 },
  { strategy: 'field_hybrid', factor: 1.5, factorMax: 1.52 },
] as const

test.each(STRATEGIES)(
  '$strategy takes $factor times the bytes of ten documents, at most $factorMax',
  async ({ factor, factorMax, strategy }) => {
    const before = await storedNow()
    const usedBefore = await usageNow()
    let documentBytes = 0
    for (let index = 0; index < DOCUMENTS; index++) {
      const value = documentOf(index)
      documentBytes += Buffer.byteLength(JSON.stringify(value))
      await write(`key=${keyOf(strategy, index)}&strategy=${strategy}`, value)
    }
    const stored = (await grownSince(before)) / documentBytes
    expect(stored).toBeGreaterThanOrEqual(factor)
    expect(stored).toBeLessThanOrEqual(factorMax)
    const used = await usageNow()
    const told =
      ((used['total_system_size'] ?? 0) - (usedBefore['total_system_size'] ?? 0)) / documentBytes
    expect(told).toBeGreaterThanOrEqual(factor)
    expect(told).toBeLessThanOrEqual(factorMax)
  },
)

const HOT_UPDATES = [
  { title: 'the whole document with other hot fields', isForced: false },
  { title: 'hot fields alone', isForced: true },
]

test.each(HOT_UPDATES)(
  '$title: no shard is written, and copies of little more than the hot fields',
  async ({ isForced }) => {
    for (let index = 0; index < DOCUMENTS; index++) {
      const { content, ...old } = documentOf(index)
      const hot = { ...old, like_count: isForced ? 1_000_000 + index : 500 + index }
      const hotBytes = Buffer.byteLength(JSON.stringify(hot))
      const query = `key=${keyOf('field_hybrid', index)}&strategy=field_hybrid`
      const before = await storedNow()
      const answer = isForced
        ? await write(`${query}&hot_only=true`, hot)
        : await write(query, { content, ...hot })
      expect(jsonOf(answer)).toMatchObject({
        is_pure_hot_update: true,
        operation_type: 'Pure Hot Update',
        hot_nodes_written: 3,
        cold_chunks_written: 0,
      })
      const now = await storedNow()
      // Nothing was added to any volume with shards, not as much as the mark of a deletion.
      expect(now['documents-coded']).toEqual(before['documents-coded'])
      const writtenBytes = now.documents.bytes - before.documents.bytes
      expect(writtenBytes).toBeGreaterThanOrEqual(3 * hotBytes)
      expect(writtenBytes).toBeLessThanOrEqual(3 * (hotBytes + KIB))
      const read = await viaFetch(`${door.restUrl}/read/${keyOf('field_hybrid', index)}`)
      expect(jsonOf(read)).toEqual({ content, ...hot })
    }
  },
)

test('when everything has been deleted, nothing is used', async () => {
  const used = await usageNow()
  expect(used['documents']).toBe(DOCUMENTS * STRATEGIES.length)
  for (const { strategy } of STRATEGIES) {
    for (let index = 0; index < DOCUMENTS; index++) {
      const url = `${door.restUrl}/delete/${keyOf(strategy, index)}`
      expect((await viaFetch(url, { method: 'DELETE' })).status).toBe(200)
    }
  }
  expect(await usageNow()).toMatchObject({
    total_system_size: 0,
    documents: 0,
    document_bytes: 0,
  })
  // The needles themselves go some seconds later.
  const needlesNow = async (): Promise<number> => {
    const stored = await storedNow()
    return stored.documents.needles + stored['documents-coded'].needles
  }
  await expect.poll(needlesNow, { timeout: 60_000, interval: 500 }).toBe(0)
})
