import { beforeEach, describe, expect, test } from 'vitest'
import type { Bucket } from '../../src/namespace/bucket-record.ts'
import type { PutObjectRequest } from '../../src/namespace/namespace-api.ts'
import { never, TestNamespace, WatchedStore } from '../support/test-namespace.ts'

const ID = '0198c0ffee0012345678901234567890'
const OTHER_ID = '0198c0ffee0012345678901234567891'
const FILES = ['3,01637037d6', '4,02637037d6']
const INTENT = { id: ID, session: 'g', bucket: 'photos', key: 'k', isMore: false }

let at: TestNamespace
let bucket: Bucket

beforeEach(async () => {
  at = new TestNamespace(new WatchedStore())
  bucket = await at.bucket()
  await at.clock.advance(10_000)
})

function put(more: Partial<PutObjectRequest> & { id?: string; fileIds?: readonly string[] } = {}) {
  const { id = ID, fileIds = FILES, ...rest } = more
  const version = at.newVersion({ id, fileIds })
  return at.namespace.putObject({ bucket, key: 'k', version, ...rest }, never)
}

describe('an intent', () => {
  test('goes with the change that names its files', async () => {
    await at.namespace.putIntent({ ...INTENT, fileIds: FILES }, never)
    expect(await at.store.keys('intents/')).toEqual([`intents/${ID}`])
    await put({ intentId: ID })
    expect(await at.store.keys('intents/')).toEqual([])
    expect(await at.store.dropped()).toEqual([])
  })

  test('that was undone keeps its files from ever being named', async () => {
    await at.namespace.putIntent({ ...INTENT, fileIds: FILES }, never)
    const undo = { id: ID, isOnlyIfOrphaned: false }
    expect(await at.namespace.undoIntent(undo, never)).toBe(true)
    expect(await at.namespace.undoIntent(undo, never)).toBe(false)
    expect((await at.store.dropped()).sort()).toEqual(FILES)
    await expect(put({ intentId: ID, fileIds: [] })).rejects.toMatchObject({ code: 'INTENT_LOST' })
    await expect(put({ intentId: ID })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(await at.store.keys('objects/')).toEqual([])
  })

  test('that was carried out is not carried out again when the put is repeated', async () => {
    await at.namespace.putIntent({ ...INTENT, fileIds: FILES }, never)
    const first = await put({ intentId: ID })
    expect(await put({ intentId: ID })).toEqual(first)
  })

  test('takes more files, and none for a write that was given up', async () => {
    const [first = '', second = ''] = FILES
    await at.namespace.putIntent({ ...INTENT, fileIds: [first] }, never)
    await at.namespace.putIntent({ ...INTENT, fileIds: [second, first], isMore: true }, never)
    await at.namespace.undoIntent({ id: ID, isOnlyIfOrphaned: false }, never)
    expect((await at.store.dropped()).sort()).toEqual(FILES)
    const late = { ...INTENT, fileIds: [first], isMore: true }
    await expect(at.namespace.putIntent(late, never)).rejects.toMatchObject({ code: 'INTENT_LOST' })
    expect(await at.store.keys('intents/')).toEqual([])
  })

  test('is orphaned when its session has ended, and not before', async () => {
    const { namespace } = at
    await namespace.renewSession('g', never)
    await namespace.putIntent({ ...INTENT, fileIds: FILES }, never)
    const list = () => namespace.listIntents({ after: '', limit: 10 }, never)
    const { startedAtMs } = (await list()).intents[0] ?? {}
    const listed = { id: ID, session: 'g', bucket: 'photos', key: 'k', startedAtMs, fileCount: 2 }
    expect(await list()).toEqual({ intents: [{ ...listed, isOrphaned: false }], next: undefined })
    const undo = { id: ID, isOnlyIfOrphaned: true }
    expect(await namespace.undoIntent(undo, never)).toBe(false)
    await namespace.endSession('g', never)
    expect((await list()).intents).toEqual([{ ...listed, isOrphaned: true }])
    expect(await namespace.undoIntent(undo, never)).toBe(true)
    expect((await list()).intents).toEqual([])
  })

  test('lists come in pages, without rows that cannot be read', async () => {
    const { namespace, store } = at
    await namespace.putIntent({ ...INTENT, fileIds: FILES }, never)
    const bad = { key: `intents/${ID}0`, value: Buffer.from('x') }
    await store.commit({ puts: [bad] }, never)
    await namespace.putIntent({ ...INTENT, id: OTHER_ID, fileIds: FILES }, never)
    const first = await namespace.listIntents({ after: '', limit: 2 }, never)
    expect(first.intents.map(({ id }) => id)).toEqual([ID])
    expect(first.next).toBe(`${ID}0`)
    const rest = await namespace.listIntents({ after: first.next ?? '', limit: 2 }, never)
    expect(rest.intents.map(({ id }) => id)).toEqual([OTHER_ID])
    expect(rest.next).toBeUndefined()
  })

  test('bad ones are refused, and leave nothing', async () => {
    const { namespace, store } = at
    const refused = (change: object, code: string) => {
      const put = namespace.putIntent({ ...INTENT, fileIds: FILES, ...change }, never)
      return expect(put).rejects.toMatchObject({ code })
    }
    await refused({ id: 'x' }, 'REQUEST_INVALID')
    await refused({ session: '' }, 'REQUEST_INVALID')
    await refused({ fileIds: ['no id'] }, 'FILE_ID_INVALID')
    const many = Array.from({ length: 20_001 }, (_, at) => `3,${(at + 1).toString(16)}0000000a`)
    await refused({ fileIds: many }, 'REQUEST_INVALID')
    expect(await store.keys('intents/')).toEqual([])
  })
})

describe('a version that shares files with the one it replaces', () => {
  const [hot = '', cold = ''] = FILES

  test('keeps those, and drops the others', async () => {
    await put()
    await put({ id: OTHER_ID, fileIds: ['5,03637037d6', cold], sharesWith: ID })
    expect(await at.store.dropped()).toEqual([hot])
    await at.namespace.deleteObject({ bucket, key: 'k' }, never)
    expect((await at.store.dropped()).sort()).toEqual([hot, cold, '5,03637037d6'].sort())
  })

  test('lacks what that one lacks', async () => {
    await put({ isDirty: true })
    await put({ id: OTHER_ID, fileIds: ['5,03637037d6', cold], sharesWith: ID })
    const { objects } = await at.namespace.listDirty({ after: '', limit: 10 }, never)
    expect(objects).toMatchObject([{ key: 'k', id: OTHER_ID }])
  })

  test('is refused when another version came first', async () => {
    await put()
    await put({ id: OTHER_ID, fileIds: ['5,03637037d6'] })
    const late = { id: ID.replace(/0$/, '2'), fileIds: ['6,04637037d6', cold], sharesWith: ID }
    await expect(put(late)).rejects.toMatchObject({ code: 'PRECONDITION_FAILED' })
    expect((await at.store.dropped()).sort()).toEqual(FILES)
  })

  test('is refused where the older version would stay', async () => {
    await put()
    await at.namespace.changeBucket(bucket, { versioning: 'enabled' }, never)
    const next = { id: OTHER_ID, fileIds: ['5,03637037d6', cold], sharesWith: ID }
    await expect(put(next)).rejects.toMatchObject({ code: 'PRECONDITION_FAILED' })
  })
})

test('a version tells how often its key was written, and when first', async () => {
  const first = await put()
  expect(first.history).toBeUndefined()
  await at.clock.advance(1000)
  const second = await put({ id: OTHER_ID, fileIds: [] })
  expect(second.history).toEqual({ writeCount: 2, firstWrittenAtMs: first.modifiedAtMs })
  const third = await put({ id: ID.replace(/0$/, '2'), fileIds: [] })
  expect(third.history).toEqual({ writeCount: 3, firstWrittenAtMs: first.modifiedAtMs })
  await at.namespace.deleteObject({ bucket, key: 'k' }, never)
  const anew = await put({ id: ID.replace(/0$/, '3'), fileIds: [] })
  expect(anew.history).toBeUndefined()
})

test('dirty versions are listed until they are settled', async () => {
  const { namespace } = at
  await put({ isDirty: true })
  const dirty = { bucket: { id: bucket.id, name: bucket.name }, key: 'k', id: ID }
  const list = async () => (await namespace.listDirty({ after: '', limit: 10 }, never)).objects
  expect(await list()).toEqual([dirty])
  await namespace.settleDirty({ ...dirty, id: OTHER_ID }, never)
  expect(await list()).toEqual([dirty])
  await namespace.settleDirty(dirty, never)
  expect(await list()).toEqual([])
  await namespace.settleDirty(dirty, never)
})
