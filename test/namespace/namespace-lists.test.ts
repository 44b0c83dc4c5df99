import { describe, expect, test } from 'vitest'
import type { Bucket } from '../../src/namespace/bucket-record.ts'
import { never, openTestNamespace, type TestNamespace } from '../support/test-namespace.ts'

const KEYS = ['a', 'a/', 'a/b', 'a/c/d', 'a0', 'b', 'b//c', 'é', '\ue000', '\uffff', '\u{1f600}/x']
const ALL = { prefix: '', delimiter: '', after: '', limit: 1000 }

async function openListed() {
  const opened = openTestNamespace()
  const bucket = await opened.bucket()
  for (const key of KEYS.toReversed()) await opened.put(bucket, key)
  return { opened, bucket, namespace: opened.namespace }
}

describe('a list of objects', () => {
  test.each<[string, Partial<typeof ALL>, string[], string[]]>([
    ['of all', {}, KEYS, []],
    ['of a prefix', { prefix: 'a/' }, ['a/', 'a/b', 'a/c/d'], []],
    ['of a prefix nothing has', { prefix: 'zz' }, [], []],
    ['of a prefix with a NUL', { prefix: 'a\0' }, [], []],
    ['of a prefix longer than any key', { prefix: 'x'.repeat(5000) }, [], []],
    [
      'by slashes',
      { delimiter: '/' },
      ['a', 'a0', 'b', 'é', '\ue000', '\uffff'],
      ['a/', 'b/', '\u{1f600}/'],
    ],
    ['of a prefix by slashes', { prefix: 'a/', delimiter: '/' }, ['a/', 'a/b'], ['a/c/']],
    ['by a longer delimiter', { prefix: 'b', delimiter: '//' }, ['b'], ['b//']],
    [
      'by an astral delimiter',
      { prefix: '\u{1f600}', delimiter: '\u{1f600}' },
      ['\u{1f600}/x'],
      [],
    ],
    ['after a key', { after: 'é' }, ['\ue000', '\uffff', '\u{1f600}/x'], []],
    ['after a key that is not there', { after: 'a1' }, KEYS.slice(5), []],
    ['after text with a NUL', { after: 'b//c\0zz' }, KEYS.slice(7), []],
    ['after the last', { after: '\u{10ffff}' }, [], []],
    ['after all of a prefix', { prefix: 'a', after: 'b' }, [], []],
    ['after a common prefix', { delimiter: '/', after: 'b/' }, KEYS.slice(7, 10), ['\u{1f600}/']],
    [
      'after a key in a common prefix',
      { delimiter: '/', after: 'a/b' },
      ['a0', 'b', 'é', '\ue000', '\uffff'],
      ['a/', 'b/', '\u{1f600}/'],
    ],
    ['after text longer than any key', { after: 'a'.repeat(5000) }, KEYS.slice(5), []],
  ])('%s', async (_, request, keys, commonPrefixes) => {
    const { bucket, namespace } = await openListed()
    const page = await namespace.listObjects({ bucket, ...ALL, ...request }, never)
    expect(page.objects.map(({ key }) => key)).toEqual(keys)
    expect(page.commonPrefixes).toEqual(commonPrefixes)
    expect(page.next).toBeUndefined()
  })

  test.each([1, 2, 3, 5, 10, 11, 12])('in pages of %d is the same as in one', async (limit) => {
    const { bucket, namespace } = await openListed()
    for (const delimiter of ['', '/', '//']) {
      const seen: string[] = []
      let after: string | undefined = ''
      for (let count = 0; after !== undefined; count++) {
        expect(count).toBeLessThan(20)
        const request = { bucket, ...ALL, delimiter, after, limit }
        const page = await namespace.listObjects(request, never)
        const names = [...page.objects.map(({ key }) => key), ...page.commonPrefixes]
        expect(names.length).toBeLessThanOrEqual(limit)
        seen.push(...names)
        after = page.next
      }
      const whole = await namespace.listObjects({ bucket, ...ALL, delimiter }, never)
      const names = [...whole.objects.map(({ key }) => key), ...whole.commonPrefixes]
      expect(seen.sort()).toEqual(names.sort())
    }
  })

  test('shows no object that a marker hides', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    await opened.put(bucket, 'a')
    await opened.put(bucket, 'b')
    await opened.delete(bucket, 'a')
    const page = await opened.namespace.listObjects({ bucket, ...ALL }, never)
    expect(page.objects.map(({ key }) => key)).toEqual(['b'])
  })

  test('shows nothing of other buckets', async () => {
    const { opened, namespace } = await openListed()
    const other = await opened.bucket('off', 'two')
    await opened.put(other, 'x')
    const page = await namespace.listObjects({ bucket: other, ...ALL }, never)
    expect(page.objects.map(({ key }) => key)).toEqual(['x'])
  })
})

test.each([0, -1, 10_001, 1.5])('a page of %d is REQUEST_INVALID in every list', async (limit) => {
  const { bucket, namespace } = await openListed()
  const request = { bucket, ...ALL, limit }
  const calls = [
    namespace.listObjects(request, never),
    namespace.listVersions({ ...request, afterVersionId: undefined }, never),
    namespace.listVersions({ ...request, after: 'a', afterVersionId: 'null' }, never),
    namespace.listUploads({ ...request, afterUploadId: undefined }, never),
  ]
  for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
})

test.each(['prefix', 'delimiter', 'after'])(
  '%s with half a character is NAME_INVALID',
  async (name) => {
    const { bucket, namespace } = await openListed()
    const request = { bucket, ...ALL, [name]: '\ud83d' }
    const calls = [
      namespace.listObjects(request, never),
      namespace.listVersions({ ...request, afterVersionId: 'null' }, never),
      namespace.listUploads({ ...request, afterUploadId: 'x' }, never),
    ]
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'NAME_INVALID' })
  },
)

describe('a list of versions', () => {
  async function openVersions() {
    const opened = openTestNamespace()
    const bucket = await opened.bucket('enabled')
    const ids: string[] = []
    for (let count = 0; count < 5; count++) {
      await opened.clock.advance(1000)
      ids.unshift((await opened.put(bucket, 'k')).id)
    }
    await opened.put(bucket, 'a/1')
    await opened.put(bucket, 'z')
    return { opened, bucket, ids }
  }

  const listAll = async (
    opened: TestNamespace,
    bucket: Bucket,
    limit: number,
    onPage: (ids: string[]) => Promise<void> = async () => undefined,
  ) => {
    const seen: string[] = []
    let mark: { after: string; afterVersionId: string | undefined } | undefined = {
      after: '',
      afterVersionId: undefined,
    }
    while (mark !== undefined) {
      const request = { bucket, ...ALL, ...mark, limit }
      const page = await opened.namespace.listVersions(request, never)
      const ids = page.versions.map(({ version }) => version.id)
      seen.push(...ids)
      await onPage(ids)
      mark = page.next
    }
    return seen
  }

  test('tells the newest first, which is the latest, and when others ceased to be that', async () => {
    const { opened, bucket, ids } = await openVersions()
    await opened.clock.advance(1000)
    const { versionId } = await opened.delete(bucket, 'k')
    const request = { bucket, ...ALL, prefix: 'k', afterVersionId: undefined }
    const { versions } = await opened.namespace.listVersions(request, never)
    expect(versions.map(({ version }) => version.id)).toEqual([versionId, ...ids])
    expect(versions.map(({ isLatest }) => isLatest)).toEqual([true, ...ids.map(() => false)])
    const becameAt = versions.map(({ becameNoncurrentAtMs }) => becameNoncurrentAtMs)
    const madeAt = versions.map(({ version }) => version.modifiedAtMs)
    expect(becameAt).toEqual([undefined, ...madeAt.slice(0, -1)])
    const paged = await opened.namespace.listVersions({ ...request, limit: 2 }, never)
    const rest = await opened.namespace.listVersions({ ...request, ...paged.next }, never)
    expect([...paged.versions, ...rest.versions]).toEqual(versions)
  })

  test.each([1, 2, 3, 4, 7, 8])('in pages of %d has each version once', async (limit) => {
    const { opened, bucket } = await openVersions()
    const whole = await listAll(opened, bucket, 1000)
    expect(whole).toHaveLength(7)
    expect(await listAll(opened, bucket, limit)).toEqual(whole)
  })

  test.each([1, 2, 3])(
    'in pages of %d misses none although each page is deleted',
    async (limit) => {
      const { opened, bucket } = await openVersions()
      const whole = await listAll(opened, bucket, 1000)
      const seen = await listAll(opened, bucket, limit, async (ids) => {
        for (const id of ids)
          for (const key of ['a/1', 'k', 'z']) await opened.delete(bucket, key, id)
      })
      expect(seen).toEqual(whole)
      await opened.namespace.deleteBucket(bucket, never)
    },
  )

  test('goes on behind a version by its id, and with all of the key behind none', async () => {
    const { opened, bucket, ids } = await openVersions()
    const list = async (afterVersionId: string) => {
      const request = { bucket, ...ALL, prefix: 'k', after: 'k', afterVersionId }
      const { versions } = await opened.namespace.listVersions(request, never)
      return versions.map(({ version }) => version.id)
    }
    expect(await list(ids[0] ?? '')).toEqual(ids.slice(1))
    expect(await list(ids[3] ?? '')).toEqual(ids.slice(4))
    expect(await list(ids[4] ?? '')).toEqual([])
    for (const unknown of ['null', 'x', '', 'null.', '\0', opened.newId()]) {
      expect(await list(unknown)).toEqual(ids)
    }
    expect(await list('null.0')).toEqual([])
    expect(await list('null.9999999999999999')).toEqual(ids)
  })

  test('shows common prefixes, and goes on behind them', async () => {
    const { opened, bucket } = await openVersions()
    const request = { bucket, ...ALL, delimiter: '/', afterVersionId: undefined, limit: 1 }
    const first = await opened.namespace.listVersions(request, never)
    expect(first).toEqual({
      versions: [],
      commonPrefixes: ['a/'],
      next: { after: 'a/', afterVersionId: undefined },
    })
    const second = await opened.namespace.listVersions({ ...request, ...first.next }, never)
    expect(second.versions.map(({ key }) => key)).toEqual(['k'])
  })

  test('shows each version once and misses none while keys change', async () => {
    for (let turns = 0; turns < 40; turns++) {
      const { opened, bucket, ids } = await openVersions()
      const [top = '', ...below] = ids
      const changes = [opened.put(bucket, 'k'), opened.delete(bucket, 'k', top)]
      for (let turn = 0; turn < turns; turn++) await undefined
      const seen = await opened.versions(bucket, 'k')
      await Promise.all(changes)
      expect(seen.filter((id) => below.includes(id))).toEqual(below)
      expect(new Set(seen).size).toBe(seen.length)
    }
  })
})

describe('a list of uploads', () => {
  test('is by key and time, in pages of any size, and goes on where an upload was', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const made: string[] = []
    for (const key of ['a/1', 'k', 'k', 'k', 'z']) {
      await opened.clock.advance(1000)
      made.push((await opened.upload(bucket, key)).uploadId)
    }
    const { namespace } = opened
    for (const limit of [1, 2, 3, 1000]) {
      const seen: string[] = []
      let mark: { after: string; afterUploadId: string | undefined } | undefined = {
        after: '',
        afterUploadId: undefined,
      }
      while (mark !== undefined) {
        const page = await namespace.listUploads({ bucket, ...ALL, ...mark, limit }, never)
        seen.push(...page.uploads.map(({ uploadId }) => uploadId))
        mark = page.next
      }
      expect(seen).toEqual(made)
    }
    const [, , gone = ''] = made
    await namespace.abortUpload({ bucket, key: 'k', uploadId: gone }, never)
    const request = { bucket, ...ALL, after: 'k', afterUploadId: gone }
    const rest = await namespace.listUploads(request, never)
    expect(rest.uploads.map(({ uploadId }) => uploadId)).toEqual(made.slice(3))
    const inPrefix = { bucket, ...ALL, delimiter: '/', after: 'a/', afterUploadId: 'x' }
    const behind = await namespace.listUploads(inPrefix, never)
    expect(behind.commonPrefixes).toEqual([])
    const byKey = await namespace.listUploads({ ...request, afterUploadId: undefined }, never)
    expect(byKey.uploads.map(({ key }) => key)).toEqual(['z'])
  })
})
