import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isStoreError, StoreError } from '../../../src/base/store-error.ts'
import type { DownloadRequest, NewFile, StoredFile } from '../../../src/net/files-api.ts'
import { FILES_AUTH_HEADER, signUserCall } from '../../../src/net/files-auth.ts'
import { GrpcChannel } from '../../../src/net/grpc-channel.ts'
import { FILES_PROTO } from '../../../src/net/proto-loading.ts'
import type { RemoteFiles } from '../../../src/net/remote-files.ts'
import { cryptoRandom } from '../../../src/runtime/random.ts'
import { Prng } from '../../support/prng.ts'
import { never } from '../../support/test-namespace.ts'
import { expectCode, settle } from '../../support/test-volume.ts'
import { bytesOf, CHUNK_BYTES, FilesDoor, piecesOf } from './files-door.ts'

let door: FilesDoor
let ada: RemoteFiles
let bob: RemoteFiles
let root: RemoteFiles

beforeAll(async () => {
  door = await FilesDoor.open()
  ada = door.as('ada')
  bob = door.as('bob')
  root = door.as('root')
})

afterAll(() => door[Symbol.asyncDispose]())

function put(
  files: RemoteFiles,
  name: string,
  data: Uint8Array,
  more: Partial<NewFile> = {},
): Promise<StoredFile> {
  return files.upload({ user: '', name, data: piecesOf(data), ...more }, never)
}

async function get(
  files: RemoteFiles,
  name: string,
  more: Partial<DownloadRequest> = {},
): Promise<{ readonly file: StoredFile; readonly data: Buffer }> {
  const pieces: Uint8Array[] = []
  let file: StoredFile | undefined
  for await (const part of files.download({ user: '', name, start: 0, ...more }, never)) {
    if ('file' in part) file = part.file
    else pieces.push(part.data)
  }
  if (file === undefined) throw new Error('no head')
  return { file, data: Buffer.concat(pieces) }
}

async function names(files: RemoteFiles, prefix = '', user = ''): Promise<string[]> {
  const found: string[] = []
  for await (const piece of files.list({ user, prefix, after: '', limit: 0 }, never)) {
    found.push(...piece.files.map(({ name }) => name))
  }
  return found
}

describe('an upload', () => {
  test.each([0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 1_048_577, 2_500_000])(
    'of %d bytes comes back as it went, with what is known of it',
    async (sizeBytes) => {
      const data = bytesOf(sizeBytes, sizeBytes)
      const name = `of/${sizeBytes} bytes.bin`
      const stored = await put(ada, name, data, { contentType: 'x/y', sizeBytes })
      const nowMs = door.names.clock.nowMs()
      expect(stored).toEqual({
        user: 'ada',
        name,
        sizeBytes,
        contentType: 'x/y',
        createdAtMs: nowMs,
        modifiedAtMs: nowMs,
        version: 1,
        sha256: createHash('sha256').update(data).digest('hex'),
        etag: createHash('md5').update(data).digest('hex'),
        chunkCount: Math.max(1, Math.ceil(sizeBytes / CHUNK_BYTES)),
      })
      expect(await ada.info({ user: '', name }, never)).toEqual(stored)
      const back = await get(ada, name)
      expect(back.file).toEqual(stored)
      expect(back.data.equals(data)).toBe(true)
    },
  )

  test('is an object of S3 that its user owns', async () => {
    await put(ada, 'seen.txt', bytesOf(10))
    const bucket = await door.names.namespace.findBucket('files', never)
    if (bucket === undefined) return expect.fail('no bucket')
    expect(bucket.ownerId).toBe(door.user('root').canonicalId)
    const version = await door.names.find(bucket, 'ada/seen.txt')
    expect(version?.ownerId).toBe(door.user('ada').canonicalId)
  })

  test('lies in chunks on several volumes', async () => {
    const before = new Set(door.liveNeedles())
    await put(ada, 'chunked', bytesOf(10 * CHUNK_BYTES))
    const made = door.liveNeedles().filter((id) => !before.has(id))
    expect(made).toHaveLength(11)
    expect(new Set(made.map((id) => id.split(',')[0])).size).toBeGreaterThan(1)
  })

  test('of a name that is there is refused, whatever is sent', async () => {
    await put(ada, 'taken', bytesOf(10))
    await expectCode(put(ada, 'taken', bytesOf(2_000_000)), 'TARGET_EXISTS')
    expect((await get(ada, 'taken')).data.equals(bytesOf(10))).toBe(true)
  })

  test('takes its place if it is told to', async () => {
    await put(ada, 'replaced', bytesOf(10))
    const stored = await put(ada, 'replaced', bytesOf(20), { isOverwrite: true })
    expect(stored).toMatchObject({ version: 2, sizeBytes: 20 })
    expect(await put(ada, 'made', bytesOf(1), { isOverwrite: true })).toMatchObject({ version: 1 })
  })

  test('of two of one name at once, one is refused', async () => {
    const both = await Promise.allSettled([
      put(ada, 'race', bytesOf(300_000, 1)),
      put(ada, 'race', bytesOf(300_000, 2)),
    ])
    const refused = both.filter((one) => one.status === 'rejected')
    expect(refused).toHaveLength(1)
    expect(isStoreError(refused[0]?.reason, 'TARGET_EXISTS')).toBe(true)
  })

  test.each([
    ['fewer bytes than announced', { sizeBytes: 11 }, 'REQUEST_INVALID'],
    ['more bytes than announced', { sizeBytes: 9 }, 'REQUEST_INVALID'],
    ['a content type of two lines', { contentType: 'a\r\nb' }, 'REQUEST_INVALID'],
    ['no name', { name: '' }, 'REQUEST_INVALID'],
    ['a name with a NUL', { name: 'a\0b' }, 'NAME_INVALID'],
    ['a name of 1021 bytes', { name: 'n'.repeat(1021) }, 'NAME_INVALID'],
  ] as const)('with %s is refused and leaves nothing', async (_, more, code) => {
    const before = [door.liveNeedles(), await names(ada)]
    await expectCode(put(ada, 'refused', bytesOf(10), more), code)
    expect([door.liveNeedles(), await names(ada)]).toEqual(before)
  })

  test('with a name of 1020 bytes is stored', async () => {
    const name = 'n'.repeat(1020)
    await put(bob, name, bytesOf(1))
    await bob.delete({ user: '', name }, never)
  })

  test.each([10, 2_000_000])('of %d bytes with another SHA-256 leaves nothing', async (size) => {
    const before = [door.liveNeedles(), await names(ada)]
    const data = piecesOf(bytesOf(size))
    const sha256 = () => createHash('sha256').update('another').digest()
    await expectCode(ada.upload({ user: '', name: 'x', data, sha256 }, never), 'CHECKSUM_MISMATCH')
    expect([door.liveNeedles(), await names(ada)]).toEqual(before)
    const right = () => createHash('sha256').update(bytesOf(size)).digest()
    const content = { user: '', name: `sum-${size}`, data: piecesOf(bytesOf(size)), sha256: right }
    expect((await ada.upload(content, never)).sha256).toBe(right().toString('hex'))
  })

  test.each(['by its caller', 'by a source that fails'])(
    'cut off %s leaves nothing',
    async (how) => {
      const before = [door.liveNeedles(), await names(ada), await intents()]
      const giving = new AbortController()
      async function* data() {
        for (let piece = 0; piece < 20; piece++) {
          yield bytesOf(CHUNK_BYTES, piece)
          await settle()
        }
        if (how === 'by its caller') giving.abort()
        else throw new StoreError('DISK_FAILED', 'the source cannot be read')
        yield bytesOf(1)
      }
      const code = how === 'by its caller' ? 'CANCELLED' : 'DISK_FAILED'
      const content = { user: '', name: 'cut', data: data() }
      await expectCode(ada.upload(content, giving.signal), code)
      while (door.server.inFlightCount > 0) await settle()
      expect([door.liveNeedles(), await names(ada), await intents()]).toEqual(before)
    },
  )

  test('that says neither its length nor its SHA-256 is refused: it may be cut off', async () => {
    const options = { address: door.address, service: FILES_PROTO, timeoutMs: 10_000 }
    const parts = { clock: door.names.clock, random: cryptoRandom }
    const credentials = { accessKeyId: 'ada', secret: 'ada-secret' }
    const proof = (path: string) =>
      [FILES_AUTH_HEADER, signUserCall(parts, credentials, path)] as const
    await using calls = new GrpcChannel(parts, { ...options, proof })
    const send = (...messages: object[]) =>
      calls.clientStream(
        'Upload',
        (async function* () {
          yield* messages
        })(),
        never,
      )
    const head = { user: '', name: 'raw', contentType: '', isOverwrite: false }
    const data = { data: Buffer.from('12345') }
    await expectCode(send({ head }, data), 'REQUEST_INVALID')
    await expectCode(send({ head: { ...head, sizeBytes: 6 } }, data), 'REQUEST_INVALID')
    await expectCode(send(data), 'REQUEST_INVALID')
    await expectCode(send(), 'REQUEST_INVALID')
    await expectCode(send({ head }, data, { head }), 'REQUEST_INVALID')
    const sha256 = createHash('sha256').update('12345').digest()
    await expectCode(send({ head }, { sha256 }, data), 'REQUEST_INVALID')
    await expectCode(send({ head }, { data: Buffer.alloc(2 ** 20 + 1) }), 'REQUEST_INVALID')
    await expectCode(send({ head }, { data: Buffer.alloc(2 ** 21 + 100) }), 'PEER_FAILED')
    expect(await names(ada, 'raw')).toEqual([])
    await send({ head: { ...head, sizeBytes: 5 } }, data)
    await send({ head: { ...head, isOverwrite: true } }, data, { sha256 })
    expect((await get(ada, 'raw')).data.toString()).toBe('12345')
  })

  async function intents(): Promise<string[]> {
    return await door.names.store.keys('intents/')
  }
})

describe('an update', () => {
  test('gives a file new content and the next version', async () => {
    const first = await put(ada, 'changing', bytesOf(10))
    await door.names.clock.advance(5)
    const content = { user: '', name: 'changing', data: piecesOf(bytesOf(20)) }
    const second = await ada.update(content, never)
    expect(second).toMatchObject({ version: 2, sizeBytes: 20, createdAtMs: first.createdAtMs })
    expect(second.modifiedAtMs).toBe(first.modifiedAtMs + 5)
  })

  test('of a name that is not there is OBJECT_NOT_FOUND, and makes nothing', async () => {
    const content = { user: '', name: 'missing', data: piecesOf(bytesOf(2_000_000)) }
    const before = door.liveNeedles()
    await expectCode(ada.update(content, never), 'OBJECT_NOT_FOUND')
    expect(door.liveNeedles()).toEqual(before)
  })

  // Goal: who reads while others write gets one content, whole. Method: contents of one repeated
  // byte each, some in chunks, are put over one another while readers check every byte.
  test('is never seen half', async () => {
    await put(ada, 'mixed', Buffer.alloc(350_000, 0))
    let isOver = false
    const seen = new Set<number>()
    const readAll = async () => {
      while (!isOver) {
        const { data, file } = await get(ada, 'mixed')
        expect(data.length).toBe(file.sizeBytes)
        const [first = -1] = data
        expect(data.equals(Buffer.alloc(data.length, first))).toBe(true)
        expect(data.length).toBe(350_000 + first)
        seen.add(first)
      }
    }
    const readers = [readAll(), readAll(), readAll()]
    for (let turn = 1; turn <= 15; turn++) {
      const data = piecesOf(Buffer.alloc(350_000 + turn, turn))
      await ada.update({ user: '', name: 'mixed', data }, never)
    }
    isOver = true
    await Promise.all(readers)
    expect(seen.size).toBeGreaterThan(1)
    expect((await get(ada, 'mixed')).file.version).toBe(16)
  })
})

describe('a download', () => {
  test.each([
    [0, undefined],
    [0, 1],
    [99_999, 100_001],
    [123_456, 1_234_567],
    [1_499_999, undefined],
    [1_499_999, 2_000_000],
  ])('of bytes %s to %s is those bytes', async (start, end) => {
    const data = bytesOf(1_500_000, 5)
    const name = 'ranges.bin'
    await put(ada, name, data, { isOverwrite: true })
    const back = await get(ada, name, { start, end })
    expect(back.file.sizeBytes).toBe(data.length)
    expect(back.data.equals(data.subarray(start, end))).toBe(true)
  })

  test.each([
    [10, undefined],
    [10, 11],
    [5, 5],
    [7, 3],
  ])('of bytes %s to %s of ten is RANGE_INVALID', async (start, end) => {
    await put(ada, 'ten', bytesOf(10), { isOverwrite: true })
    await expectCode(get(ada, 'ten', { start, end }), 'RANGE_INVALID')
  })

  test('that is given up half-way ends its call', async () => {
    await put(ada, 'left', bytesOf(2_500_000), { isOverwrite: true })
    for await (const part of ada.download({ user: '', name: 'left', start: 0 }, never)) {
      if ('data' in part) break
    }
    while (door.server.inFlightCount > 0) await settle()
  })

  test('of a file whose volume servers are away fails, and says why', async () => {
    await put(ada, 'away', bytesOf(900_000))
    door.cluster.fault = (operation) =>
      operation === 'read' ? { when: 'before', code: 'UNAVAILABLE' } : undefined
    let isOver = false
    const failing = expectCode(get(ada, 'away'), 'UNAVAILABLE').finally(() => {
      isOver = true
    })
    while (!isOver) await door.names.clock.advance(100)
    await failing
    door.cluster.fault = () => undefined
  })
})

describe('a file that is deleted', () => {
  test('is gone, for all calls', async () => {
    await put(ada, 'gone', bytesOf(10))
    await ada.delete({ user: '', name: 'gone' }, never)
    const ref = { user: '', name: 'gone' }
    await expectCode(ada.delete(ref, never), 'OBJECT_NOT_FOUND')
    await expectCode(ada.info(ref, never), 'OBJECT_NOT_FOUND')
    await expectCode(get(ada, 'gone'), 'OBJECT_NOT_FOUND')
    expect(await names(ada, 'gone')).toEqual([])
  })
})

describe('a list', () => {
  test('has the files of one user in order, by prefix, in pieces and pages', async () => {
    for (let at = 0; at < 12; at++) await put(bob, `page/${at}`, bytesOf(1))
    await put(ada, 'page/of-ada', bytesOf(1), { isOverwrite: true })
    const expected = Array.from({ length: 12 }, (_, at) => `page/${at}`).toSorted()
    expect(await names(bob, 'page/')).toEqual(expected)
    const found: string[] = []
    let after = ''
    do {
      const request = { user: '', prefix: 'page/', after, limit: 5 }
      after = ''
      for await (const piece of bob.list(request, never)) {
        found.push(...piece.files.map(({ name }) => name))
        after = piece.next
      }
    } while (after !== '')
    expect(found).toEqual(expected)
  })

  test('of a user without files is empty', async () => {
    expect(await names(root)).toEqual([])
  })

  test('leaves out objects that are files of nobody', async () => {
    const bucket = await door.names.namespace.findBucket('files', never)
    if (bucket === undefined) return expect.fail('no bucket')
    for (const key of ['lost', '/lost', 'ada/']) await door.names.put(bucket, key)
    const found: string[] = []
    const request = { user: '', isOfAll: true, after: '', limit: 0 }
    const pattern = { kind: 'glob' as const, text: '*' }
    for await (const piece of root.search({ ...request, pattern }, never)) {
      found.push(...piece.files.map(({ user, name }) => `${user}/${name}`))
    }
    expect(found).not.toContain('ada/')
    expect(found).not.toContain('/lost')
    expect(found).toContain('ada/page/of-ada')
    for (const key of ['lost', '/lost', 'ada/']) await door.names.delete(bucket, key)
  })
})

describe('a search', () => {
  async function search(files: RemoteFiles, text: string, more: object = {}): Promise<string[]> {
    const kind = /[*?]/.test(text) ? ('glob' as const) : ('substring' as const)
    const found: string[] = []
    const request = { user: '', isOfAll: false, after: '', limit: 0, pattern: { kind, text } }
    for await (const piece of files.search({ ...request, ...more }, never)) {
      found.push(...piece.files.map(({ user, name }) => `${user}/${name}`))
    }
    return found
  }

  test('finds files of the caller, of another user for root, and of all for root', async () => {
    await put(ada, 'q/Zebra.PNG', bytesOf(1))
    await put(bob, 'q/zebra.txt', bytesOf(1))
    expect(await search(ada, 'zebra')).toEqual(['ada/q/Zebra.PNG'])
    expect(await search(ada, '*.png')).toEqual(['ada/q/Zebra.PNG'])
    expect(await search(root, 'zebra')).toEqual([])
    expect(await search(root, 'zebra', { user: 'bob' })).toEqual(['bob/q/zebra.txt'])
    const all = { isOfAll: true }
    expect(await search(root, 'zebra', all)).toEqual(['ada/q/Zebra.PNG', 'bob/q/zebra.txt'])
    expect(await search(root, 'zebra', { ...all, limit: 1 })).toEqual(['ada/q/Zebra.PNG'])
    await ada.delete({ user: '', name: 'q/Zebra.PNG' }, never)
    expect(await search(root, 'zebra', all)).toEqual(['bob/q/zebra.txt'])
  })

  test('goes on where the last page ended', async () => {
    for (let at = 0; at < 7; at++) await put(ada, `paged-${at}`, bytesOf(1))
    const found: string[] = []
    let after = ''
    do {
      const pattern = { kind: 'substring' as const, text: 'paged' }
      const request = { user: '', isOfAll: false, pattern, after, limit: 3 }
      after = ''
      for await (const piece of ada.search(request, never)) {
        found.push(...piece.files.map(({ name }) => name))
        after = piece.next
      }
    } while (after !== '')
    expect(found).toEqual(Array.from({ length: 7 }, (_, at) => `paged-${at}`))
  })

  test('finds what was in the bucket before it was one of files', async () => {
    await using other = await FilesDoor.open()
    const ownerId = other.user('root').canonicalId
    const request = { name: 'files', ownerId, isLockEnabled: false, documents: {} }
    const bucket = await other.names.namespace.createBucket(request, never)
    for (let at = 0; at < 30; at++) await other.names.put(bucket, `ada/early-${at}`)
    expect(await search(other.as('ada'), 'early')).toHaveLength(30)
    expect(await search(other.as('ada'), '*-7')).toEqual(['ada/early-7'])
    expect(await other.names.store.keys('search/')).not.toEqual([])
  })

  test('for nothing, or among the files of all, is refused', async () => {
    await expectCode(search(ada, ''), 'REQUEST_INVALID')
    await expectCode(search(ada, 'a', { isOfAll: true }), 'ACCESS_DENIED')
    await expectCode(search(ada, 'a', { user: 'bob' }), 'ACCESS_DENIED')
  })
})

describe('somebody else', () => {
  test('may do nothing with the files of a user, and does not learn which there are', async () => {
    await put(ada, 'private', bytesOf(10))
    for (const name of ['private', 'not-there']) {
      const ref = { user: 'ada', name }
      await expectCode(bob.info(ref, never), 'ACCESS_DENIED')
      await expectCode(bob.delete(ref, never), 'ACCESS_DENIED')
      await expectCode(get(bob, name, { user: 'ada' }), 'ACCESS_DENIED')
      await expectCode(put(bob, name, bytesOf(5), { user: 'ada' }), 'ACCESS_DENIED')
      const content = { ...ref, data: piecesOf(bytesOf(5)) }
      await expectCode(bob.update(content, never), 'ACCESS_DENIED')
    }
    await expectCode(names(bob, '', 'ada'), 'ACCESS_DENIED')
    expect((await get(ada, 'private')).data.equals(bytesOf(10))).toBe(true)
  })

  test('who made the bucket of files first gets none', async () => {
    await using other = await FilesDoor.open()
    const ownerId = other.user('bob').canonicalId
    const request = { name: 'files', ownerId, isLockEnabled: false, documents: {} }
    await other.names.namespace.createBucket(request, never)
    await expectCode(put(other.as('ada'), 'x', bytesOf(1)), 'ACCESS_DENIED')
    await expectCode(put(other.as('root'), 'x', bytesOf(1)), 'ACCESS_DENIED')
    expect(other.liveNeedles()).toEqual([])
  })

  test('does not get there by a name with dots and slashes', async () => {
    await expectCode(get(bob, '../ada/private'), 'OBJECT_NOT_FOUND')
    await expectCode(get(root, 'x', { user: 'bob/../ada' }), 'REQUEST_INVALID')
  })

  test('who is the root user may do everything, and the file stays its user’s', async () => {
    const stored = await put(root, 'given', bytesOf(7), { user: 'bob' })
    expect(stored.user).toBe('bob')
    expect((await get(bob, 'given')).data.equals(bytesOf(7))).toBe(true)
    const bucket = await door.names.namespace.findBucket('files', never)
    if (bucket === undefined) return expect.fail('no bucket')
    const version = await door.names.find(bucket, 'bob/given')
    expect(version?.ownerId).toBe(door.user('bob').canonicalId)
    await root.delete({ user: 'bob', name: 'given' }, never)
    await expectCode(put(root, 'x', bytesOf(1), { user: 'nobody' }), 'USER_NOT_FOUND')
  })
})

describe('a call that is not signed right', () => {
  const ref = { user: '', name: 'private' }

  function channel(proof: string | undefined): GrpcChannel {
    const options = { address: door.address, service: FILES_PROTO, timeoutMs: 10_000 }
    const more = proof === undefined ? {} : { proof: () => [FILES_AUTH_HEADER, proof] as const }
    return new GrpcChannel(
      { clock: door.names.clock, random: cryptoRandom },
      { ...options, ...more },
    )
  }

  test.each([
    ['with another secret', () => door.as('ada', 'bob-secret')],
    ['with a key that is not there', () => door.as('eve')],
  ])('%s is UNAUTHENTICATED, for every method', async (_, open) => {
    const files = open()
    await expectCode(files.info(ref, never), 'UNAUTHENTICATED')
    await expectCode(files.delete(ref, never), 'UNAUTHENTICATED')
    await expectCode(get(files, 'private'), 'UNAUTHENTICATED')
    await expectCode(names(files), 'UNAUTHENTICATED')
    await expectCode(put(files, 'x', bytesOf(2_000_000)), 'UNAUTHENTICATED')
    const content = { ...ref, data: piecesOf(bytesOf(1)) }
    await expectCode(files.update(content, never), 'UNAUTHENTICATED')
    const pattern = { kind: 'glob' as const, text: '*' }
    const search = files.search({ user: '', isOfAll: false, pattern, after: '', limit: 0 }, never)
    await expectCode(search.next(), 'UNAUTHENTICATED')
  })

  test('is UNAUTHENTICATED without a signature, or with nonsense for one', async () => {
    for (const proof of [undefined, 'v1', 'v1 ada 1 00 00', `v2 ada 1 ${'0'.repeat(32)}`]) {
      await using calls = channel(proof)
      await expectCode(calls.unary('Info', ref, never), 'UNAUTHENTICATED')
    }
  })

  test('for another method, or twice, is UNAUTHENTICATED', async () => {
    const parts = { clock: door.names.clock, random: new Prng(9) }
    const credentials = { accessKeyId: 'ada', secret: 'ada-secret' }
    const path = '/hayloft.v1.FileService/Info'
    await using calls = channel(signUserCall(parts, credentials, path))
    await expectCode(calls.unary('Delete', ref, never), 'UNAUTHENTICATED')
    await calls.unary('Info', ref, never)
    await expectCode(calls.unary('Info', ref, never), 'UNAUTHENTICATED')
  })

  test('by a key that was switched off meanwhile is UNAUTHENTICATED', async () => {
    const key = door.keys.get('bob')
    if (key === undefined) return expect.fail('no key')
    door.keys.delete('bob')
    await expectCode(names(bob), 'UNAUTHENTICATED')
    door.keys.set('bob', key)
    await names(bob)
  })
})

describe('the cache', () => {
  test('answers the second reading of a file, and of a new version the new bytes', async () => {
    await put(ada, 'hot', bytesOf(50_000, 1))
    const hits = await door.counter('gateway_files_cache_hits_total')
    const misses = await door.counter('gateway_files_cache_misses_total')
    await get(ada, 'hot')
    const reads = door.cluster.count('read')
    expect((await get(ada, 'hot')).data.equals(bytesOf(50_000, 1))).toBe(true)
    expect((await get(ada, 'hot', { start: 5, end: 9 })).data).toEqual(
      bytesOf(50_000, 1).subarray(5, 9),
    )
    expect(door.cluster.count('read')).toBe(reads)
    expect(await door.counter('gateway_files_cache_hits_total')).toBe(hits + 2)
    expect(await door.counter('gateway_files_cache_misses_total')).toBe(misses + 1)
    await put(ada, 'hot', bytesOf(50_000, 2), { isOverwrite: true })
    expect((await get(ada, 'hot')).data.equals(bytesOf(50_000, 2))).toBe(true)
    expect(await door.counter('gateway_files_calls_total{method="Upload"}')).toBeGreaterThan(0)
  })

  test('may be switched off', async () => {
    await using other = await FilesDoor.open({ cacheBytes: 0 })
    const files = other.as('ada')
    await put(files, 'cold', bytesOf(10))
    await get(files, 'cold')
    const reads = other.cluster.count('read')
    await get(files, 'cold')
    expect(other.cluster.count('read')).toBeGreaterThan(reads)
  })
})
