// Fills a namespace of its own, and says what it takes. Usage: node namespace-process.mjs DIR COUNT
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LevelStore } from '../dist/metadata/level/level-store.js'
import { Namespace } from '../dist/namespace/namespace.js'
import { newVersionId } from '../dist/namespace/version-id.js'
import { systemClock } from '../dist/runtime/clock.js'
import { silentLogger } from '../dist/runtime/logger.js'
import { NodeDisk } from '../dist/runtime/node-disk.js'
import { cryptoRandom } from '../dist/runtime/random.js'

const [directory, countText] = process.argv.slice(2)
const count = Number(countText)
const never = new AbortController().signal
const WRITERS = 256
const MEASURED_WRITERS = 32
const parts = {
  clock: systemClock,
  random: cryptoRandom,
  logger: silentLogger,
  disk: new NodeDisk(),
}

const keyOf = (index) => `photos/2026/${String(index % 1000).padStart(3, '0')}/img-${index}.jpg`

async function openNamespace() {
  const store = await LevelStore.open(parts, { directory }, never)
  return { store, namespace: new Namespace({ ...parts, store }, { deleteDelayMs: 1000 }) }
}

async function fill(namespace, bucket, first, end, writers) {
  let next = first
  const write = async () => {
    while (next < end) {
      const index = next++
      const id = newVersionId(cryptoRandom, systemClock.nowMs())
      const fileId = `${1 + (index % 7)},${(index + 1).toString(16).padStart(16, '0')}637037d6`
      const checksum = { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'AAAAAAAAAAA=' }
      const version = {
        id,
        sizeBytes: 4096,
        etag: id,
        storageClass: 'STANDARD',
        checksum,
        parts: [{ fileId, sizeBytes: 4096 }],
        ownerId: undefined,
        contentType: 'image/jpeg',
        headers: {},
        metadata: {},
        tags: [],
        acl: undefined,
        retention: undefined,
        isLegalHold: false,
      }
      await namespace.putObject({ bucket, key: keyOf(index), version }, never)
    }
  }
  await Promise.all(Array.from({ length: writers }, write))
}

async function list(namespace, bucket, after, pages) {
  let keys = 0
  for (let page = 0; page < pages; page++) {
    const request = { bucket, prefix: '', delimiter: '', after, limit: 1000 }
    const { next, objects } = await namespace.listObjects(request, never)
    keys += objects.length
    if (next === undefined) break
    after = next
  }
  return keys
}

async function diskBytes() {
  let bytes = 0
  for (const name of await readdir(directory)) bytes += (await stat(join(directory, name))).size
  return bytes
}

const first = await openNamespace()
const request = { name: 'bench', ownerId: 'ab'.repeat(32), isLockEnabled: false, documents: {} }
const bucket = await first.namespace.createBucket(request, never)
const measured = Math.min(50_000, count / 10)
await fill(first.namespace, bucket, 0, count - measured, WRITERS)
const startMs = performance.now()
await fill(first.namespace, bucket, count - measured, count, MEASURED_WRITERS)
const putsPerSecond = (measured * 1000) / (performance.now() - startMs)
globalThis.gc()
const rssFilled = process.memoryUsage.rss()
await first.store[Symbol.asyncDispose]()

const again = await openNamespace()
globalThis.gc()
const rssOpened = process.memoryUsage.rss()
const listMs = performance.now()
const listed = await list(again.namespace, bucket, '', 200)
const keysPerSecond = (listed * 1000) / (performance.now() - listMs)
const middleMs = performance.now()
await list(again.namespace, bucket, 'photos/2026/500/', 1)
const middlePageMs = performance.now() - middleMs
const figures = { putsPerSecond, rssFilled, rssOpened, keysPerSecond, middlePageMs }
const keyBytes = Buffer.byteLength(keyOf(count))
console.log(JSON.stringify({ ...figures, keyBytes, diskBytes: await diskBytes() }))
await again.store[Symbol.asyncDispose]()
