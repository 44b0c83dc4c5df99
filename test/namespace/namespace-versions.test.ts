import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { LateStore } from '../support/late-store.ts'
import { failsWith, never, openTestNamespace, TestNamespace } from '../support/test-namespace.ts'

const LOCKED = { code: 'OBJECT_LOCKED' }
const DAY_MS = 86_400_000

describe('with versioning enabled', () => {
  test('each put is a version of its own, and the newest is seen', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const puts = [await opened.put(bucket, 'a'), await opened.put(bucket, 'a')]
    const ids = puts.map(({ id }) => id)
    expect(await opened.versions(bucket, 'a')).toEqual(ids.toReversed())
    expect(await opened.find(bucket, 'a')).toEqual(puts[1])
    for (const put of puts) expect(await opened.find(bucket, 'a', put.id)).toEqual(put)
    expect(await opened.find(bucket, 'a', 'null')).toBeUndefined()
    expect(await opened.find(bucket, 'a', 'no id')).toBeUndefined()
    expect(await opened.find(bucket, 'b', ids[0])).toBeUndefined()
    expect(await opened.store.dropped()).toEqual([])
  })

  test('a delete hides the object behind a marker; deleting that uncovers it', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const put = await opened.put(bucket, 'a')
    const { isMarker, versionId } = await opened.delete(bucket, 'a')
    expect(isMarker).toBe(true)
    expect(await opened.find(bucket, 'a')).toMatchObject({ isMarker: true, id: versionId })
    expect(await opened.find(bucket, 'a', put.id)).toEqual(put)
    expect(await opened.versions(bucket, 'a')).toEqual([`-${versionId}`, put.id])
    expect(await opened.delete(bucket, 'a', versionId)).toEqual({ isMarker: true, versionId })
    expect(await opened.find(bucket, 'a')).toEqual(put)
    expect(await opened.versions(bucket, 'a')).toEqual([put.id])
    expect(await opened.store.dropped()).toEqual([])
  })

  test('markers pile up, also where nothing ever was, and only the top one uncovers', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const put = await opened.put(bucket, 'a')
    const { versionId: low } = await opened.delete(bucket, 'a')
    const { versionId: high } = await opened.delete(bucket, 'a')
    await opened.delete(bucket, 'a', low)
    expect(await opened.find(bucket, 'a')).toMatchObject({ id: high })
    await opened.delete(bucket, 'a', high)
    expect(await opened.find(bucket, 'a')).toEqual(put)
    const { versionId } = await opened.delete(bucket, 'b')
    expect(await opened.find(bucket, 'b')).toMatchObject({ isMarker: true, id: versionId })
    await opened.delete(bucket, 'b', versionId)
    expect(await opened.find(bucket, 'b')).toBeUndefined()
  })

  test('deleting the newest version shows the one below, unless that is a marker', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const first = await opened.put(bucket, 'a')
    const { versionId } = await opened.delete(bucket, 'a')
    const second = await opened.put(bucket, 'a')
    const third = await opened.put(bucket, 'a')
    expect(await opened.delete(bucket, 'a', third.id)).toEqual({
      isMarker: false,
      versionId: third.id,
    })
    expect(await opened.find(bucket, 'a')).toEqual(second)
    await opened.delete(bucket, 'a', second.id)
    expect(await opened.find(bucket, 'a')).toMatchObject({ isMarker: true, id: versionId })
    expect(await opened.store.keys('objects/')).toEqual([])
    await opened.delete(bucket, 'a', first.id)
    expect(await opened.versions(bucket, 'a')).toEqual([`-${versionId}`])
    const dropped = [third, second, first].flatMap(({ parts }) => parts.map((part) => part.fileId))
    expect((await opened.store.dropped()).sort()).toEqual(dropped.sort())
  })

  test('deleting a hidden version leaves what is seen', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const first = await opened.put(bucket, 'a')
    const second = await opened.put(bucket, 'a')
    await opened.delete(bucket, 'a', first.id)
    expect(await opened.versions(bucket, 'a')).toEqual([second.id])
    expect(await opened.find(bucket, 'a')).toEqual(second)
  })
})

describe('the version null', () => {
  test('is what was put before versioning, below what came after it', async () => {
    const opened = openTestNamespace()
    const plain = await opened.bucket()
    const first = await opened.put(plain, 'a')
    const bucket = await opened.setVersioning(plain, 'enabled')
    expect(await opened.find(bucket, 'a', 'null')).toEqual(first)
    const second = await opened.put(bucket, 'a')
    expect(await opened.versions(bucket, 'a')).toEqual([second.id, 'null'])
    expect(await opened.find(bucket, 'a', 'null')).toEqual(first)
    expect(await opened.find(bucket, 'a', first.id)).toBeUndefined()
    expect(await opened.delete(bucket, 'a', 'null')).toEqual({ isMarker: false, versionId: 'null' })
    expect(await opened.versions(bucket, 'a')).toEqual([second.id])
    expect(await opened.store.keys('nulls/')).toEqual([])
    expect(await opened.store.dropped()).toEqual(first.parts.map(({ fileId }) => fileId))
  })

  test('is shown again when what hid it goes', async () => {
    const opened = openTestNamespace()
    const plain = await opened.bucket()
    const first = await opened.put(plain, 'a')
    const bucket = await opened.setVersioning(plain, 'enabled')
    const second = await opened.put(bucket, 'a')
    expect(await opened.store.keys('nulls/')).toHaveLength(1)
    await opened.delete(bucket, 'a', second.id)
    expect(await opened.find(bucket, 'a')).toEqual(first)
    expect(await opened.store.keys('nulls/')).toEqual([])
    const { versionId } = await opened.delete(bucket, 'a')
    expect(await opened.store.keys('nulls/')).toHaveLength(1)
    await opened.delete(bucket, 'a', versionId)
    expect(await opened.find(bucket, 'a', 'null')).toEqual(first)
    expect(await opened.store.keys('nulls/')).toEqual([])
  })

  test('is replaced by a put while versioning is suspended, wherever it lies', async () => {
    const opened = openTestNamespace()
    const enabled = await opened.bucket('enabled')
    const first = await opened.put(enabled, 'a')
    let bucket = await opened.setVersioning(enabled, 'suspended')
    const second = await opened.put(bucket, 'a')
    expect(await opened.versions(bucket, 'a')).toEqual(['null', first.id])
    const third = await opened.put(bucket, 'a')
    expect(await opened.versions(bucket, 'a')).toEqual(['null', first.id])
    expect(await opened.store.dropped()).toEqual(second.parts.map(({ fileId }) => fileId))
    bucket = await opened.setVersioning(bucket, 'enabled')
    const fourth = await opened.put(bucket, 'a')
    expect(await opened.versions(bucket, 'a')).toEqual([fourth.id, 'null', first.id])
    bucket = await opened.setVersioning(bucket, 'suspended')
    const fifth = await opened.put(bucket, 'a')
    expect(await opened.versions(bucket, 'a')).toEqual(['null', fourth.id, first.id])
    expect(await opened.find(bucket, 'a', 'null')).toEqual(fifth)
    const replaced = [second, third].flatMap(({ parts }) => parts.map(({ fileId }) => fileId))
    expect((await opened.store.dropped()).sort()).toEqual(replaced.sort())
    expect(await opened.store.keys('nulls/')).toEqual([])
  })

  test('becomes a marker by a delete while versioning is suspended', async () => {
    const opened = openTestNamespace()
    const enabled = await opened.bucket('enabled')
    const first = await opened.put(enabled, 'a')
    const bucket = await opened.setVersioning(enabled, 'suspended')
    const second = await opened.put(bucket, 'a')
    const result = { isMarker: true, versionId: 'null' }
    expect(await opened.delete(bucket, 'a')).toEqual(result)
    expect(await opened.versions(bucket, 'a')).toEqual(['-null', first.id])
    expect(await opened.store.dropped()).toEqual(second.parts.map(({ fileId }) => fileId))
    expect(await opened.delete(bucket, 'a')).toEqual(result)
    expect(await opened.versions(bucket, 'a')).toEqual(['-null', first.id])
    expect(await opened.find(bucket, 'a', 'null')).toMatchObject({ isMarker: true })
    await opened.put(bucket, 'a')
    expect(await opened.versions(bucket, 'a')).toEqual(['null', first.id])
    await opened.delete(bucket, 'a')
    expect(await opened.delete(bucket, 'a', 'null')).toEqual(result)
    expect(await opened.find(bucket, 'a')).toEqual(first)
    expect(await opened.store.keys('nulls/')).toEqual([])
  })

  test('that is a marker of what never was goes without a trace', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('suspended')
    await opened.delete(bucket, 'a')
    expect(await opened.versions(bucket, 'a')).toEqual(['-null'])
    await opened.delete(bucket, 'a', 'null')
    expect(await opened.store.keys()).toEqual(['bucket-ids', 'buckets/one'])
  })
})

describe('an object lock', () => {
  const inADay = (opened: ReturnType<typeof openTestNamespace>) => opened.clock.nowMs() + DAY_MS

  test.each([
    ['GOVERNANCE', false, 'OBJECT_LOCKED'],
    ['GOVERNANCE', true, 'done'],
    ['COMPLIANCE', false, 'OBJECT_LOCKED'],
    ['COMPLIANCE', true, 'OBJECT_LOCKED'],
  ] as const)('of %s, bypassed: %o: %s', async (mode, bypassesGovernance, expected) => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled', 'one', true)
    const retention = { mode, untilMs: inADay(opened) }
    const hidden = await opened.put(bucket, 'a', { retention })
    const { id } = await opened.put(bucket, 'a', { retention })
    for (const versionId of [hidden.id, id]) {
      const target = { bucket, key: 'a', versionId, bypassesGovernance }
      const deleting = opened.namespace.deleteObject(target, never)
      const result = await deleting.then(
        () => 'done',
        (error: StoreError) => error.code,
      )
      expect(result).toBe(expected)
    }
    expect(await opened.versions(bucket, 'a')).toHaveLength(expected === 'done' ? 0 : 2)
    expect(await opened.store.dropped()).toHaveLength(expected === 'done' ? 2 : 0)
  })

  test('ends with its time, to the millisecond', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled', 'one', true)
    const retention = { mode: 'COMPLIANCE' as const, untilMs: inADay(opened) }
    const { id } = await opened.put(bucket, 'a', { retention })
    await opened.clock.advance(DAY_MS - 1)
    await expect(opened.delete(bucket, 'a', id)).rejects.toMatchObject(LOCKED)
    await opened.clock.advance(1)
    await opened.delete(bucket, 'a', id)
    expect(await opened.versions(bucket, 'a')).toEqual([])
  })

  test('keeps no marker from being made, and holds the version below it', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled', 'one', true)
    const { id } = await opened.put(bucket, 'a', { isLegalHold: true })
    await opened.delete(bucket, 'a')
    await expect(opened.delete(bucket, 'a', id)).rejects.toMatchObject(LOCKED)
    const target = { bucket, key: 'a', versionId: id }
    const bypassing = opened.namespace.deleteObject({ ...target, bypassesGovernance: true }, never)
    await expect(bypassing).rejects.toMatchObject(LOCKED)
    const change = { isLegalHold: false }
    await opened.namespace.changeObject({ ...target, change }, never)
    await opened.delete(bucket, 'a', id)
  })

  test('is not got around by a put or delete without versioning', async () => {
    for (const versioning of ['off', 'suspended'] as const) {
      const opened = openTestNamespace()
      const bucket = await opened.bucket(versioning)
      const put = await opened.put(bucket, 'a', { isLegalHold: true })
      await expect(opened.put(bucket, 'a')).rejects.toMatchObject(LOCKED)
      await expect(opened.delete(bucket, 'a')).rejects.toMatchObject(LOCKED)
      expect(await opened.find(bucket, 'a')).toEqual(put)
      expect(await opened.store.dropped()).toEqual([])
    }
  })

  const LONGER = 2 * DAY_MS
  const SHORTER = DAY_MS / 2
  test.each([
    ['GOVERNANCE', 'GOVERNANCE', LONGER, false, 'done'],
    ['GOVERNANCE', 'GOVERNANCE', DAY_MS, false, 'done'],
    ['GOVERNANCE', 'GOVERNANCE', SHORTER, false, 'OBJECT_LOCKED'],
    ['GOVERNANCE', 'GOVERNANCE', SHORTER, true, 'done'],
    ['GOVERNANCE', 'COMPLIANCE', LONGER, false, 'OBJECT_LOCKED'],
    ['GOVERNANCE', 'COMPLIANCE', LONGER, true, 'done'],
    ['GOVERNANCE', undefined, 0, false, 'OBJECT_LOCKED'],
    ['GOVERNANCE', undefined, 0, true, 'done'],
    ['COMPLIANCE', 'COMPLIANCE', LONGER, false, 'done'],
    ['COMPLIANCE', 'COMPLIANCE', SHORTER, true, 'OBJECT_LOCKED'],
    ['COMPLIANCE', 'GOVERNANCE', LONGER, true, 'OBJECT_LOCKED'],
    ['COMPLIANCE', undefined, 0, true, 'OBJECT_LOCKED'],
  ] as const)('of %s for a day becomes %s for %d ms, bypassed: %o: %s', async (...row) => {
    const [before, after, ms, bypassesGovernance, expected] = row
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled', 'one', true)
    const retention = { mode: before, untilMs: inADay(opened) }
    const { id } = await opened.put(bucket, 'a', { retention })
    const value = after && { mode: after, untilMs: opened.clock.nowMs() + ms }
    const change = { retention: { value } }
    const request = { bucket, key: 'a', versionId: id, change, bypassesGovernance }
    const result = await opened.namespace.changeObject(request, never).then(
      () => 'done',
      (error: StoreError) => error.code,
    )
    expect(result).toBe(expected)
    const kept = expected === 'done' ? value : retention
    expect((await opened.find(bucket, 'a', id))?.retention).toEqual(kept)
    await opened.clock.advance(DAY_MS + LONGER)
    await opened.namespace.changeObject({ ...request, bypassesGovernance: false }, never)
  })
})

describe('a read of a version', () => {
  test('finds it while it moves from below to the top', async () => {
    for (let turns = 0; turns < 30; turns++) {
      const opened = openTestNamespace()
      const bucket = await opened.bucket('enabled')
      const first = await opened.put(bucket, 'a')
      const second = await opened.put(bucket, 'a')
      const deleting = opened.delete(bucket, 'a', second.id)
      for (let turn = 0; turn < turns; turn++) await undefined
      expect(await opened.find(bucket, 'a', first.id)).toEqual(first)
      await deleting
    }
  })

  test('never sees what lies below the newest one', async () => {
    for (let turns = 0; turns < 30; turns++) {
      const opened = openTestNamespace()
      const bucket = await opened.bucket('enabled')
      await opened.put(bucket, 'a')
      const second = await opened.put(bucket, 'a')
      const { versionId = '' } = await opened.delete(bucket, 'a')
      const deleting = opened.delete(bucket, 'a', versionId)
      for (let turn = 0; turn < turns; turn++) await undefined
      const found = await opened.find(bucket, 'a')
      expect([second.id, versionId]).toContain(found?.id)
      await deleting
    }
  })

  test('finds it by its id although the clock of whoever made that was wrong', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const nowMs = opened.clock.nowMs()
    const ids = [0, -DAY_MS, 59_000, 61_000, DAY_MS, -nowMs].map(
      (ms) => (nowMs + ms).toString(16).padStart(12, '0') + '7'.repeat(20),
    )
    for (const id of [...ids, 'f'.repeat(32)]) await opened.put(bucket, 'a', { id })
    await opened.delete(bucket, 'a')
    for (const id of [...ids, 'f'.repeat(32)]) {
      expect(await opened.find(bucket, 'a', id)).toMatchObject({ id })
    }
    expect(await opened.find(bucket, 'a', `${'0'.repeat(31)}1`)).toBeUndefined()
  })
})

test('a marker is made once although its commit is tried again after a conflict', async () => {
  const opened = openTestNamespace()
  const bucket = await opened.bucket('enabled')
  await opened.put(bucket, 'a')
  opened.store.beforeCommit = failsWith(new StoreError('METADATA_CONFLICT', 'raced'))
  const { versionId } = await opened.delete(bucket, 'a')
  expect(await opened.versions(bucket, 'a')).toHaveLength(2)
  expect(await opened.find(bucket, 'a')).toMatchObject({ id: versionId })
})

test('a put in doubt that happens while its key is read shows the object, and never nothing', async () => {
  const opened = new TestNamespace(new LateStore())
  const bucket = await opened.bucket('suspended')
  await opened.put(bucket, 'k')
  await opened.delete(bucket, 'k')
  opened.store.isLate = true
  const id = opened.newId()
  await expect(opened.put(bucket, 'k', { id })).rejects.toMatchObject({ code: 'DISK_FULL' })
  // The row of the object is read before, that of the marker after it happened.
  expect(await opened.find(bucket, 'k')).toMatchObject({ id, isMarker: false })
})
