import { createHash } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { PutData, PutOptions } from '../../src/client/client-api.ts'
import { GatewaySession } from '../../src/gateway/gateway-session.ts'
import { type ObjectToWrite, writeObject } from '../../src/gateway/object-writer.ts'
import type { Bucket } from '../../src/namespace/bucket-record.ts'
import { readOwnerPairs, readVersionPairs } from '../../src/namespace/needle-pairs.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Prng } from '../support/prng.ts'
import { never, TestNamespace, WatchedStore } from '../support/test-namespace.ts'

/** Stores nothing but what it was told, and names two files ahead where it is asked to. */
class FakeClient {
  readonly puts: { data: Buffer; options: PutOptions }[] = []
  readonly deleted: string[] = []
  failure: StoreError | undefined
  missingCount: number | undefined
  #count = 0

  async put(data: PutData, options: PutOptions) {
    this.#count++
    const fileId = `3,${this.#count.toString(16).padStart(2, '0')}0000000a`
    await options.onPlanned?.([fileId, `4,${this.#count.toString(16)}10000000b`])
    const pieces: Uint8Array[] = []
    if (data instanceof Uint8Array) pieces.push(data)
    else {
      for await (const piece of data as AsyncIterable<Uint8Array>) pieces.push(Buffer.from(piece))
    }
    if (this.failure !== undefined) throw this.failure
    const pairs = { ...options.pairs, ...options.pairsAtEnd?.() }
    const stored = Buffer.concat(pieces)
    this.puts.push({ data: stored, options: { ...options, pairs } })
    const { missingCount } = this
    return { fileId, sizeBytes: stored.length, eTag: '00000000', missingCount }
  }

  async delete(fileId: string) {
    this.deleted.push(fileId)
    return { wasLive: true }
  }
}

const MIB = 1024 * 1024
const CODED = { collection: 'objects-coded', policy: 'ec:2+1' }
const COPIED = { collection: 'objects' }

let at: TestNamespace
let bucket: Bucket
let client: FakeClient

beforeEach(async () => {
  at = new TestNamespace(new WatchedStore())
  bucket = await at.bucket()
  client = new FakeClient()
})

async function write(object: Partial<ObjectToWrite>) {
  const { clock, namespace, random } = at
  const logger = silentLogger
  await using session = new GatewaySession({ namespace, clock, random, logger })
  const closing = never
  const parts = { namespace, client: client as never, session, clock, random, logger, closing }
  const data = Buffer.from('hello')
  return await writeObject(parts, { bucket, key: 'k', data, storage: COPIED, ...object }, never)
}

async function* piecesOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  // One buffer for all of them, as a socket may have.
  const memory = Buffer.alloc(size)
  for (let from = 0; from < bytes.length; from += size) {
    const piece = bytes.subarray(from, from + size)
    memory.set(piece)
    yield memory.subarray(0, piece.length)
  }
}

describe('an object that was written', () => {
  test.each([
    ['a buffer', 5, undefined],
    ['nothing', 0, undefined],
    ['a short stream', 1000, 100],
    ['a stream of 1 MiB', MIB, 65_536],
    ['a long stream', 3 * MIB + 17, 65_537],
  ])('of %s has its sums, and needles that tell of it', async (_, length, pieceBytes) => {
    const bytes = new Prng(length).bytes(length)
    const data = pieceBytes === undefined ? bytes : piecesOf(bytes, pieceBytes)
    const version = await write({ data, storage: CODED, contentType: 'a/b', metadata: { m: 'x' } })
    const [put] = client.puts
    expect(put?.data.equals(bytes)).toBe(true)
    expect(version).toMatchObject({
      sizeBytes: length,
      etag: createHash('md5').update(bytes).digest('hex'),
      contentType: 'a/b',
      metadata: { m: 'x' },
      checksum: {
        algorithm: 'SHA256',
        value: createHash('sha256').update(bytes).digest('base64'),
      },
    })
    const pairs = put?.options.pairs
    expect(readOwnerPairs(pairs)).toEqual({ bucket: 'one', key: 'k', version: version.id })
    const { etag, sizeBytes } = version
    expect(readVersionPairs(pairs)).toMatchObject({ etag, sizeBytes, metadata: { m: 'x' } })
    expect(await at.find(bucket, 'k')).toEqual(version)
  })

  test('has an intent only if it takes several needles', async () => {
    await write({})
    expect(client.puts[0]?.options.onPlanned).toBeUndefined()
    await write({ data: Buffer.alloc(9 * MIB) })
    await write({ storage: CODED })
    expect(client.puts.map(({ options }) => options.onPlanned !== undefined)).toEqual([
      false,
      true,
      true,
    ])
    expect(await at.store.keys('intents/')).toEqual([])
  })

  test('says so when shards are missing', async () => {
    client.missingCount = 1
    const { id } = await write({ storage: { ...CODED, writePolicy: 'best-effort' } })
    const { objects } = await at.namespace.listDirty({ after: '', limit: 9 }, never)
    expect(objects).toMatchObject([{ key: 'k', id }])
  })
})

describe('a write that fails leaves nothing', () => {
  test.each([
    ['a buffer', Buffer.alloc(11)],
    ['a stream', piecesOf(Buffer.alloc(11), 4)],
    ['a long stream', piecesOf(Buffer.alloc(2 * MIB), 65_536)],
  ])('above the limit, as %s', async (_, data) => {
    const tooLarge = write({ data, storage: CODED, sizeBytesMax: 10 })
    await expect(tooLarge).rejects.toMatchObject({ code: 'BODY_TOO_LARGE' })
    expect(client.puts).toEqual([])
    expect(await at.store.keys('intents/')).toEqual([])
  })

  test('when it cannot be stored', async () => {
    client.failure = new StoreError('NO_WRITABLE_VOLUME', 'full')
    await expect(write({ storage: CODED })).rejects.toMatchObject({ code: 'NO_WRITABLE_VOLUME' })
    expect(await at.store.keys('intents/')).toEqual([])
    expect(await at.store.dropped()).toHaveLength(2)
  })

  test.each([
    ['coded', CODED],
    ['copied', COPIED],
  ])('when the name is refused (%s)', async (_, storage) => {
    const refused = write({ storage, condition: { ifMatch: ['*'] } })
    await expect(refused).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' })
    expect(await at.store.keys('intents/')).toEqual([])
    const dropped = [...(await at.store.dropped()), ...client.deleted]
    expect(dropped).toContain('3,010000000a')
  })

  test('but nothing is given up when the name may have been given', async () => {
    let commits = 0
    const { store } = at
    const commit = store.commit.bind(store)
    store.commit = async (batch, signal) => {
      await commit(batch, signal)
      if (++commits === 2) throw new StoreError('DISK_FAILED', 'after it was done')
    }
    await expect(write({ storage: CODED })).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect(await store.dropped()).toEqual([])
    expect(client.deleted).toEqual([])
  })
})
