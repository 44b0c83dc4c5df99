import { describe, expect, test } from 'vitest'
import { formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { Namespace } from '../../src/namespace/namespace.ts'
import { NO_ATTRIBUTES } from '../../src/namespace/object-version.ts'
import { type FoundVersion, RebuiltRows } from '../../src/namespace/rebuilt-rows.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const SIGNAL = new AbortController().signal
const OWNER_ID = 'ab'.repeat(32)
const START_MS = 1_700_000_000_000

interface Change {
  readonly bucket?: string
  readonly key?: string
  readonly id?: string
  readonly isNull?: boolean
  readonly atMs?: number
  readonly told?: Partial<FoundVersion['told']>
  readonly parts?: FoundVersion['parts']
}

const prng = new Prng(7)
let needle = 0

function found(change: Change = {}): FoundVersion {
  const { atMs = START_MS, bucket = 'photos', isNull = false, key = 'k', parts, told } = change
  needle++
  return {
    owner: { bucket, key, version: change.id ?? newVersionId(prng, atMs) },
    told: {
      ...NO_ATTRIBUTES,
      sizeBytes: 5,
      etag: '0'.repeat(32),
      checksum: undefined,
      ownerId: undefined,
      storageClass: 'STANDARD',
      isNull,
      isRecord: parts !== undefined,
      isCut: false,
      ...told,
    },
    fileId: formatFileId(parseFileId(`3,${needle.toString(16).padStart(4, '0')}637037d6`)),
    appendAtNs: BigInt(atMs) * 1_000_000n,
    parts,
  }
}

async function rebuilt(versions: readonly FoundVersion[], moved: readonly [string, string][] = []) {
  const store = new MemoryStore()
  const rows = new RebuiltRows(store)
  for (const version of versions) await rows.addVersion(version, SIGNAL)
  for (const [fromFileId, fileId] of moved) {
    await rows.addMoved({ fromFileId, storageClass: 'GLACIER_IR' }, fileId, SIGNAL)
  }
  const buckets = await rows.finish(OWNER_ID, SIGNAL)
  const clock = new SimClock()
  const namespace = new Namespace({ store, clock, random: prng }, { deleteDelayMs: 10_000 })
  const bucketOf = async (name: string) => {
    const bucket = await namespace.findBucket(name, SIGNAL)
    if (bucket === undefined) throw new Error(`no bucket ${name}`)
    return bucket
  }
  const listed = async (name = 'photos') => {
    const request = { prefix: '', delimiter: '', after: '', afterVersionId: undefined, limit: 1000 }
    return await namespace.listVersions({ bucket: await bucketOf(name), ...request }, SIGNAL)
  }
  return { store, buckets, namespace, bucketOf, listed }
}

describe('rows made anew', () => {
  test('have the versions of a key in the order they were stored, whatever that of volumes', async () => {
    const versions = [3, 1, 4, 0, 2].map((n) => found({ atMs: START_MS + n * 1000 }))
    const { bucketOf, buckets, listed } = await rebuilt(versions)
    expect(buckets).toEqual([
      { name: 'photos', versioning: 'enabled', versions: 5, superseded: 0, cut: 0 },
    ])
    const page = await listed()
    const at = page.versions.map(({ version }) => version.modifiedAtMs - START_MS)
    expect(at).toEqual([4000, 3000, 2000, 1000, 0])
    expect(page.versions.map(({ isLatest }) => isLatest)).toEqual([
      true,
      false,
      false,
      false,
      false,
    ])
    expect(await bucketOf('photos')).toMatchObject({ ownerId: OWNER_ID, createdAtMs: START_MS })
  })

  test('have one version null of a key, the newest', async () => {
    const versions = [0, 1, 2].map((n) => found({ isNull: true, atMs: START_MS + n }))
    const { buckets, listed } = await rebuilt(versions)
    expect(buckets[0]).toMatchObject({ versioning: 'off', versions: 1, superseded: 2 })
    const page = await listed()
    expect(page.versions.map(({ version }) => version.id)).toEqual([versions[2]?.owner.version])
  })

  test('find the version null below others', async () => {
    const old = found({ isNull: true })
    const { bucketOf, namespace } = await rebuilt([found({ atMs: START_MS + 5 }), old])
    const bucket = await bucketOf('photos')
    const wanted = { bucket, key: 'k', versionId: 'null' }
    expect(await namespace.findObject(wanted, SIGNAL)).toMatchObject({ id: old.owner.version })
    await namespace.deleteObject(wanted, SIGNAL)
    expect(await namespace.findObject(wanted, SIGNAL)).toBeUndefined()
  })

  test.each([
    ['off', [true, true]],
    ['enabled', [true, false]],
    ['suspended', [false, true]],
  ] as const)('have versioning %s', async (versioning, nulls) => {
    const versions = nulls.map((isNull, n) => found({ isNull, key: `k${n}`, atMs: START_MS + n }))
    const { bucketOf } = await rebuilt(versions)
    expect((await bucketOf('photos')).versioning).toBe(versioning)
  })

  test('have locks where a version was locked', async () => {
    const { bucketOf } = await rebuilt([found({ told: { isLegalHold: true } })])
    const bucket = await bucketOf('photos')
    expect(bucket).toMatchObject({ isLockEnabled: true, versioning: 'enabled' })
  })

  test('take the later needle of two of one version: tries of one put, bytes that moved', async () => {
    const first = found()
    const { owner } = first
    // Also where the clock of the volume server was ahead of the master's.
    const made = { modifiedAtMs: START_MS, seq: (START_MS - 5) * 1000 }
    const told = { storageClass: 'STANDARD_IA', made } as const
    const second = found({ id: owner.version, atMs: START_MS + 900_000, told })
    const { listed } = await rebuilt([second, first])
    const page = await listed()
    expect(page.versions).toHaveLength(1)
    expect(page.versions[0]?.version).toMatchObject({
      ...made,
      storageClass: 'STANDARD_IA',
    })
  })

  test('have the parts of an upload, and where they were moved to', async () => {
    const part = { md5: '0'.repeat(32), checksum: 'AAAA', sizeBytes: 5 }
    const parts = [1, 2].map((n) => ({ ...part, partNumber: n, fileId: `4,0${n}637037d6` }))
    const upload = found({ parts, told: { sizeBytes: 10, etag: `${'0'.repeat(32)}-2` } })
    const { listed } = await rebuilt([upload], [['4,02637037d6', '5,03637037d6']])
    const [only] = (await listed()).versions
    expect(only?.version).toMatchObject({
      recordFileId: upload.fileId,
      storageClass: 'GLACIER_IR',
      parts: [
        { fileId: '4,01637037d6', sizeBytes: 5, checksum: 'AAAA' },
        { fileId: '5,03637037d6', sizeBytes: 5, checksum: 'AAAA' },
      ],
    })
  })

  test('have the files that one needle tells of, also where one was moved to', async () => {
    const document = { strategy: 'field_hybrid', coldSha256: 'cd'.repeat(32) } as const
    const parts = [null, ['4,01637037d6', 800]] as const
    const told = { sizeBytes: 816, document, parts }
    const old = found({ isNull: true, atMs: START_MS - 1, told: { ...told, sizeBytes: 815 } })
    const now = found({ isNull: true, told })
    const one = found({ isNull: true, key: 'one', told: { document: { strategy: 'ec' } } })
    for (const [moved, fileId] of [
      [[], '4,01637037d6'],
      [[['4,01637037d6', '5,03637037d6']], '5,03637037d6'],
    ] as const) {
      const { buckets, listed } = await rebuilt([now, one, old], [...moved] as [string, string][])
      expect(buckets[0]).toMatchObject({ versions: 2, superseded: 1 })
      const [first, second] = (await listed()).versions
      const itself = { fileId: now.fileId, sizeBytes: 16 }
      const files = [itself, { fileId, sizeBytes: 800 }]
      expect(first?.version).toMatchObject({ id: now.owner.version, document, parts: files })
      expect(second?.version).toMatchObject({
        document: { strategy: 'ec' },
        parts: [{ fileId: one.fileId, sizeBytes: 5 }],
      })
    }
  })

  test('hold nothing else, and the next bucket has an id of its own', async () => {
    const versions = ['b2', 'b1', 'b3'].map((name) => found({ bucket: `bucket-${name}` }))
    const { bucketOf, namespace, store } = await rebuilt(versions)
    const keys: string[] = []
    for await (const { key } of store.scan({}, SIGNAL)) keys.push(key)
    expect(keys.filter((key) => key.startsWith('rebuild'))).toEqual([])
    expect(keys).toHaveLength(7)
    const more = { name: 'bucket-b4', ownerId: OWNER_ID, isLockEnabled: false, documents: {} }
    const made = await namespace.createBucket(more, SIGNAL)
    const ids = [made.id]
    for (const name of ['b1', 'b2', 'b3']) ids.push((await bucketOf(`bucket-${name}`)).id)
    expect(new Set(ids).size).toBe(4)
  })

  test('leave out what is no bucket', async () => {
    const { buckets } = await rebuilt([found({ bucket: 'No Bucket' })])
    expect(buckets).toEqual([])
  })

  test.each([1, 2, 3])('of 2,000 needles in any order are in order (seed %d)', async (seed) => {
    const random = new Prng(seed)
    const versions = Array.from({ length: 2000 }, () =>
      found({ key: `k${random.below(300)}`, atMs: START_MS + random.below(1_000_000) }),
    )
    const { listed, namespace, bucketOf } = await rebuilt(versions)
    const wanted = new Map<string, number>()
    for (const { owner } of versions) wanted.set(owner.key, (wanted.get(owner.key) ?? 0) + 1)
    const first = await listed()
    const seqs = new Map<string, number[]>()
    let page = first
    for (;;) {
      for (const { key, version } of page.versions) {
        seqs.set(key, [...(seqs.get(key) ?? []), version.seq])
      }
      if (page.next === undefined) break
      const request = { bucket: await bucketOf('photos'), prefix: '', delimiter: '', limit: 1000 }
      page = await namespace.listVersions({ ...request, ...page.next }, SIGNAL)
    }
    for (const [key, count] of wanted) {
      const found = seqs.get(key) ?? []
      expect(found).toHaveLength(count)
      expect(found).toEqual([...found].sort((a, b) => b - a))
      expect(new Set(found).size).toBe(count)
    }
  })
})
