import { beforeAll, describe, expect, test } from 'vitest'
import type { Bucket } from '../../src/namespace/bucket-record.ts'
import { encodeObjectVersion, type ObjectVersion } from '../../src/namespace/object-version.ts'
import { objectKey } from '../../src/namespace/row-keys.ts'
import { SortedStore } from '../support/sorted-store.ts'
import { never, TestNamespace } from '../support/test-namespace.ts'

const ALL = { prefix: '', delimiter: '', after: '', limit: 1000 }

/** Rows that `run` reads. */
async function rowsReadBy(store: SortedStore, run: () => Promise<unknown>): Promise<number> {
  const before = store.rowsRead + store.getCount
  await run()
  expect(store.scansOpen).toBe(0)
  return store.rowsRead + store.getCount - before
}

/** Puts objects as rows, without a commit for each. */
function fill(opened: TestNamespace<SortedStore>, bucket: Bucket, keys: readonly string[]): void {
  const version: ObjectVersion = {
    ...opened.newVersion(),
    isNull: true,
    isMarker: false,
    seq: 1,
    modifiedAtMs: 1,
  }
  const value = encodeObjectVersion(version)
  const puts = keys.map((key) => ({ key: objectKey(bucket.id, key), value }))
  opened.store.commitNow({ puts })
}

function numbered(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => prefix + String(index).padStart(6, '0'))
}

describe('in a bucket with 100,000 keys under one prefix', () => {
  const opened = new TestNamespace(new SortedStore())
  let bucket: Bucket
  beforeAll(async () => {
    bucket = await opened.bucket()
    fill(opened, bucket, [...numbered('a/', 100_000), ...numbered('b/', 1000), 'c'])
    await opened.namespace.findBucket(bucket.name, never)
  })

  test.each([
    ['the first 1,000', {}],
    ['1,000 behind 1,000', { after: 'a/000999' }],
    ['1,000 behind 99,000', { after: 'a/098999' }],
    ['1,000 under the next prefix', { prefix: 'b/' }],
  ])('listing %s reads at most 1,001 rows', async (_, request) => {
    const list = async () => {
      const page = await opened.namespace.listObjects({ bucket, ...ALL, ...request }, never)
      expect(page.objects).toHaveLength(1000)
    }
    expect(await rowsReadBy(opened.store, list)).toBeLessThanOrEqual(1001)
    const versions = async () => {
      const all = { bucket, ...ALL, ...request, afterVersionId: undefined }
      const page = await opened.namespace.listVersions(all, never)
      expect(page.versions).toHaveLength(1000)
    }
    expect(await rowsReadBy(opened.store, versions)).toBeLessThanOrEqual(1001)
  })

  test('listing two common prefixes and a key reads at most 200 rows', async () => {
    const list = async () => {
      const request = { bucket, ...ALL, delimiter: '/' }
      const page = await opened.namespace.listObjects(request, never)
      expect([page.commonPrefixes, page.objects.length]).toEqual([['a/', 'b/'], 1])
    }
    expect(await rowsReadBy(opened.store, list)).toBeLessThanOrEqual(200)
  })
})

test('listing 50 common prefixes of 2,000 keys each reads at most 3,000 rows', async () => {
  const opened = new TestNamespace(new SortedStore())
  const bucket = await opened.bucket()
  fill(
    opened,
    bucket,
    numbered('d', 50).flatMap((prefix) => numbered(`${prefix}/`, 2000)),
  )
  for (const limit of [1000, 51, 50, 7, 1]) {
    let count = 0
    const list = async () => {
      let after: string | undefined = ''
      while (after !== undefined) {
        const request = { bucket, ...ALL, delimiter: '/', after, limit }
        const page = await opened.namespace.listObjects(request, never)
        count += page.commonPrefixes.length
        after = page.next
      }
    }
    expect(await rowsReadBy(opened.store, list)).toBeLessThanOrEqual(3000)
    expect(count).toBe(50)
  }
})

describe('of a key with 5,000 versions, one a minute', () => {
  const opened = new TestNamespace(new SortedStore())
  const ids: string[] = []
  let bucket: Bucket
  beforeAll(async () => {
    bucket = await opened.bucket('enabled')
    for (let count = 0; count < 5000; count++) {
      await opened.clock.advance(60_000)
      ids.push((await opened.put(bucket, 'k')).id)
    }
  })

  test.each([0, 1, 2500, 4998, 4999])('finding version %d reads at most 4 rows', async (index) => {
    const find = async () => {
      expect(await opened.find(bucket, 'k', ids[index])).toMatchObject({ id: ids[index] })
    }
    expect(await rowsReadBy(opened.store, find)).toBeLessThanOrEqual(4)
  })

  test('a put reads at most 5 rows, and so does its repetition', async () => {
    const version = opened.newVersion()
    const put = () => opened.namespace.putObject({ bucket, key: 'k', version }, never)
    expect(await rowsReadBy(opened.store, put)).toBeLessThanOrEqual(5)
    expect(await rowsReadBy(opened.store, put)).toBeLessThanOrEqual(5)
  })

  test('a page of 10 anywhere reads at most 30 rows', async () => {
    for (const index of [1, 2500, 4999]) {
      const list = async () => {
        const mark = { after: 'k', afterVersionId: ids[index] }
        const page = await opened.namespace.listVersions(
          { bucket, ...ALL, ...mark, limit: 10 },
          never,
        )
        expect(page.versions[0]?.version.id).toBe(ids[index - 1])
      }
      expect(await rowsReadBy(opened.store, list)).toBeLessThanOrEqual(30)
    }
  })

  test('a list of objects does not read its versions', async () => {
    const list = () => opened.namespace.listObjects({ bucket, ...ALL }, never)
    expect(await rowsReadBy(opened.store, list)).toBe(1)
  })
})

test('an object that is asked for again is not read again; a first read is one row', async () => {
  const opened = new TestNamespace(new SortedStore())
  const bucket = await opened.bucket()
  await opened.put(bucket, 'a')
  opened.reopen()
  const find = () => opened.find(bucket, 'a')
  // One row of the bucket, one of the object.
  expect(await rowsReadBy(opened.store, find)).toBe(2)
  expect(await rowsReadBy(opened.store, find)).toBe(0)
})
