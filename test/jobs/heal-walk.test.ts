import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import {
  nextFiles,
  readPlace,
  type WalkNamespace,
  type WalkPlace,
} from '../../src/jobs/heal-walk.ts'

const NEVER = new AbortController().signal

interface FakeBucket {
  readonly versions: readonly (readonly [key: string, fileIds: readonly string[]])[]
  readonly uploads?: readonly (readonly [key: string, fileIds: readonly string[]])[]
}

/** Buckets by name. Keys are their own version ids. */
function namespaceOf(buckets: Record<string, FakeBucket>): WalkNamespace {
  const names = Object.keys(buckets).sort()
  const refOf = (name: string) => ({ name, id: names.indexOf(name) })
  const bucketOf = ({ name }: { readonly name: string }) => {
    const found = buckets[name]
    if (found === undefined) throw new StoreError('BUCKET_NOT_FOUND', name)
    return found
  }
  const fake = {
    findBucket: async (name: string) => (buckets[name] === undefined ? undefined : refOf(name)),
    listBuckets: async ({ after, limit }: { after: string; limit: number }) =>
      Object.keys(buckets)
        .sort()
        .filter((name) => name > after)
        .slice(0, limit)
        .map(refOf),
    listVersions: async (request: { bucket: { name: string }; after: string; limit: number }) => {
      const { after, bucket, limit } = request
      const rest = bucketOf(bucket).versions.filter(([key]) => key > after)
      const versions = rest.slice(0, limit).map(([key, fileIds]) => ({
        key,
        version: { id: key, parts: fileIds.map((fileId) => ({ fileId, sizeBytes: 1 })) },
      }))
      const last = versions.at(-1)?.key ?? ''
      const isMore = rest.length > versions.length
      return { versions, next: isMore ? { after: last, afterVersionId: last } : undefined }
    },
    listUploads: async ({ after, bucket }: { bucket: { name: string }; after: string }) => {
      const rest = (bucketOf(bucket).uploads ?? []).filter(([key]) => key > after)
      const uploads = rest.slice(0, 1).map(([key]) => ({ key, uploadId: key }))
      const isMore = rest.length > 1
      const last = uploads.at(-1)?.key ?? ''
      return { uploads, next: isMore ? { after: last, afterUploadId: last } : undefined }
    },
    listParts: async ({ bucket, uploadId }: { bucket: { name: string }; uploadId: string }) => {
      const [, fileIds] =
        bucketOf(bucket).uploads?.find(([key]) => key === uploadId) ??
        (() => {
          throw new StoreError('UPLOAD_NOT_FOUND', uploadId)
        })()
      if (uploadId === 'gone') throw new StoreError('UPLOAD_NOT_FOUND', uploadId)
      return fileIds.map((fileId, index) => ({ fileId, sizeBytes: 1, partNumber: index + 1 }))
    },
  }
  return fake as unknown as WalkNamespace
}

async function walk(namespace: WalkNamespace, limit = 2): Promise<readonly string[]> {
  const found: string[] = []
  let place: WalkPlace | undefined
  for (let pages = 0; pages < 100; pages++) {
    const isWanted = (id: number) => id < 10
    const page = await nextFiles(namespace, { place, limit, isWanted }, NEVER)
    found.push(...page.files.map(({ bucket, fileId, key }) => `${bucket.name}/${key} ${fileId}`))
    if (page.next === undefined) return found
    // As a cursor keeps it.
    place = readPlace(JSON.parse(JSON.stringify(page.next)))
  }
  throw new Error('it comes to no end')
}

describe('a walk over the files of objects', () => {
  const a = { versions: [['k1', ['1,0100000001', '10,0100000001']]] } as const
  const b = {
    versions: [
      ['k1', ['2,0100000001']],
      ['k2', ['2,0200000001']],
      ['k3', ['2,0300000001']],
    ],
    uploads: [
      ['gone', ['3,0900000001']],
      ['u1', ['3,0100000001', '3,0200000001']],
    ],
  } as const

  test.each([1, 2, 3, 100])('finds all on the volumes it is about, %d at a time', async (limit) => {
    expect(await walk(namespaceOf({ a, b, c: { versions: [] } }), limit)).toEqual([
      'a/k1 1,0100000001',
      'b/k1 2,0100000001',
      'b/k2 2,0200000001',
      'b/k3 2,0300000001',
      'b/u1 3,0100000001',
      'b/u1 3,0200000001',
    ])
  })

  test('ends at once where there are no buckets', async () => {
    expect(await walk(namespaceOf({}))).toEqual([])
  })

  test('goes on with the next bucket when the one it is in has gone', async () => {
    const place = { bucket: 'aa', stage: 'versions', after: 'k', afterId: undefined } as const
    const options = { place, limit: 10, isWanted: () => true }
    const page = await nextFiles(namespaceOf({ a, b }), options, NEVER)
    expect(page.files[0]).toMatchObject({ bucket: { name: 'b' }, key: 'k1' })
  })

  test.each([[undefined], [null], ['x'], [{}], [{ bucket: 'a', stage: 'no', after: '' }]])(
    'takes no place from a cursor that makes no sense: %o',
    (value) => {
      expect(readPlace(value)).toBeUndefined()
    },
  )
})
