import { expect, test } from 'vitest'
import { decodeWriteIntent } from '../../src/namespace/intent-record.ts'
import type { BucketRef, UploadPage, VersionPage } from '../../src/namespace/namespace-api.ts'
import { decodeSeq } from '../../src/namespace/object-rows.ts'
import { decodeObjectVersion, type ObjectVersion } from '../../src/namespace/object-version.ts'
import { keyOfObjectRow, keyOfVersionRow, partNumberOfRow } from '../../src/namespace/row-keys.ts'
import { decodePart } from '../../src/namespace/upload-record.ts'
import type { BucketState } from '../support/namespace-model.ts'
import { objectsPage, uploadsPage, versionsPage } from '../support/namespace-model-lists.ts'
import { BUCKETS, NamespaceOperations } from '../support/namespace-operations.ts'
import { NamespaceWorld } from '../support/namespace-world.ts'
import { IS_MODEL_LANE, Prng, seeds } from '../support/prng.ts'

const never = new AbortController().signal
const ROUNDS = 14
/** `npm run model:all` takes more. */
const SEEDS = IS_MODEL_LANE ? 3000 : 100

// Goal: whatever several clients do at once to two buckets, while commits fail before or after they
// happened and the process ends at any time, each gets what a simple model gives, and the rows are
// what the model says. Method: the model changes when a commit takes effect. Replay: SEED=17.
test.each(seeds(SEEDS))('clients, failing commits and crashes (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  const world = new NamespaceWorld(prng)
  const operations = new NamespaceOperations(world, prng)
  for (const name of BUCKETS) await world.run(operations.createBucket(name))
  for (let round = 0; round < ROUNDS && world.faults.length === 0; round++) {
    world.failChance = prng.pick([0, 0, 0.1, 0.3, 0.5])
    const clients = Array.from({ length: prng.between(1, 5) }, () =>
      client(world, operations, prng),
    )
    await Promise.all(clients)
    await checkUsage(world)
    await passTime(world, prng)
  }
  world.crash()
  world.failChance = 0
  expect(world.faults).toEqual([])
  expect(world.rows.scansOpen).toBe(0)
  for (const [name, bucket] of world.state.buckets) {
    await checkBucket(world, { name, id: bucket.id }, bucket)
  }
  await checkUsage(world)
  checkRows(world)
})

async function client(
  world: NamespaceWorld,
  operations: NamespaceOperations,
  prng: Prng,
): Promise<void> {
  for (let count = prng.between(1, 4); count > 0; count--) {
    const abort = new AbortController()
    const running = world.run(operations.next(), abort)
    if (prng.chance(0.03)) {
      for (let turns = prng.below(20); turns > 0; turns--) await undefined
      abort.abort()
    }
    await running
    if (prng.chance(0.01)) world.crash()
  }
}

/** Mostly forwards. */
async function passTime({ clock }: NamespaceWorld, prng: Prng): Promise<void> {
  if (prng.chance(0.5)) await clock.advance(prng.below(30_000))
  else if (prng.chance(0.1)) clock.jumpWallClock(-prng.below(5000))
}

/** All lists to their end, in pages of all sizes. */
async function checkBucket(
  { namespace }: NamespaceWorld,
  ref: BucketRef,
  bucket: BucketState,
): Promise<void> {
  for (const delimiter of ['', '/']) {
    for (const limit of [1, 2, 1000]) {
      const request = { bucket: ref, prefix: '', delimiter, limit }
      const whole = { ...request, after: '', limit: 1000 }
      const objects = await pagesOf({ after: '' }, async ({ after }) => {
        const page = await namespace.listObjects({ ...request, after }, never)
        return { ...page, next: page.next === undefined ? undefined : { after: page.next } }
      })
      const expected = objectsPage(bucket, whole)
      expect(objects.flatMap((page) => page.objects)).toEqual(expected.objects)
      expect(objects.flatMap((page) => page.commonPrefixes)).toEqual(expected.commonPrefixes)

      const firstVersion: NonNullable<VersionPage['next']> = {
        after: '',
        afterVersionId: undefined,
      }
      const versions = await pagesOf(firstVersion, (next) =>
        namespace.listVersions({ ...request, ...next }, never),
      )
      const expectedVersions = versionsPage(bucket, { ...whole, ...firstVersion }).versions
      expect(versions.flatMap((page) => page.versions)).toEqual(expectedVersions)

      const firstUpload: NonNullable<UploadPage['next']> = { after: '', afterUploadId: undefined }
      const uploads = await pagesOf(firstUpload, (next) =>
        namespace.listUploads({ ...request, ...next }, never),
      )
      const expectedUploads = uploadsPage(bucket, { ...whole, ...firstUpload }).uploads
      expect(uploads.flatMap((page) => page.uploads)).toEqual(expectedUploads)
    }
  }
}

/** As it was kept up with, where it was counted before. */
async function checkUsage({ namespace, state }: NamespaceWorld): Promise<void> {
  for (const [name, bucket] of state.buckets) {
    const usage = await namespace.bucketUsage({ name, id: bucket.id }, never)
    expect(usage).toEqual(usageOf(bucket))
  }
}

async function pagesOf<Next, Page extends { readonly next: Next | undefined }>(
  first: Next,
  read: (next: Next) => Promise<Page>,
): Promise<Page[]> {
  const pages: Page[] = []
  for (let next: Next | undefined = first; next !== undefined; ) {
    const page: Page = await read(next)
    pages.push(page)
    expect(pages.length).toBeLessThan(1000)
    next = page.next
  }
  return pages
}

function usageOf(bucket: BucketState): { bytes: number; objects: number } {
  const versions = [...bucket.keys.values()].flat()
  const parts = [...bucket.uploads.values()].flatMap((upload) => [...upload.parts.values()])
  const bytes = [...versions, ...parts].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  return { bytes, objects: versions.length }
}

/** The rows alone: what `ObjectChanges` says of them, and what became of each file. */
function checkRows({ givenFiles, rows, state }: NamespaceWorld): void {
  const current = new Map<string, ObjectVersion>()
  const hidden = new Map<string, ObjectVersion[]>()
  const nulls = new Map<string, number>()
  const named: string[] = []
  const intents: string[] = []
  const owned: string[] = []
  const written = new Map<string, readonly string[]>()
  for (const { key, value } of rows.rows) {
    const bucket = key.split('/', 2)[1] ?? ''
    if (key.startsWith('objects/')) {
      current.set(`${bucket}/${keyOfObjectRow(key)}`, decodeObjectVersion(value, key))
    } else if (key.startsWith('versions/')) {
      const name = `${bucket}/${keyOfVersionRow(key)}`
      hidden.set(name, [...(hidden.get(name) ?? []), decodeObjectVersion(value, key)])
    } else if (key.startsWith('nulls/')) {
      nulls.set(key.slice('nulls/'.length), decodeSeq(value, key))
    } else if (key.startsWith('parts/')) {
      named.push(decodePart(partNumberOfRow(key), value, key).fileId)
    } else if (key.startsWith('intents/')) {
      const id = key.slice('intents/'.length)
      written.set(id, decodeWriteIntent(id, value).fileIds)
    } else if (key.startsWith('name-intents/')) {
      intents.push(key.split('/')[2] ?? '')
    } else if (key.startsWith('name-files/')) {
      owned.push(key.split('/')[1] ?? '')
    }
  }
  for (const name of new Set([...current.keys(), ...hidden.keys()])) {
    const top = current.get(name)
    const below = hidden.get(name) ?? []
    const all = top === undefined ? below : [top, ...below]
    expect(top?.isMarker ?? false).toBe(false)
    if (top === undefined) expect(below[0]?.isMarker).toBe(true)
    expect(all.map(({ seq }) => seq)).toEqual(all.map(({ seq }) => seq).sort((a, b) => b - a))
    expect(new Set(all.map(({ seq }) => seq)).size).toBe(all.length)
    expect(all.filter(({ isNull }) => isNull).length).toBeLessThanOrEqual(1)
    expect(nulls.get(name)).toBe(below.find(({ isNull }) => isNull)?.seq)
    nulls.delete(name)
    named.push(...all.flatMap(({ parts }) => parts.map(({ fileId }) => fileId)))
  }
  expect([...nulls]).toEqual([])
  expect(named.length).toBe(new Set(named).size)
  expect(intents.sort()).toEqual([...state.dropped].sort())
  expect(owned.sort()).toEqual(intents)
  expect([...written].sort()).toEqual([...state.intents].sort())
  expect(named.filter((fileId) => state.dropped.has(fileId))).toEqual([])
  for (const fileId of [...named, ...intents]) expect(givenFiles.has(fileId)).toBe(true)
}
