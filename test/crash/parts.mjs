import { createCipheriv, randomBytes } from 'node:crypto'
import { needleIdFromNumber, volumeId } from '../../dist/base/ids.js'
import { isStoreError } from '../../dist/base/store-error.js'
import { TTL_NONE } from '../../dist/base/ttl.js'
import { systemClock } from '../../dist/runtime/clock.js'
import { silentLogger } from '../../dist/runtime/logger.js'
import { NodeDisk } from '../../dist/runtime/node-disk.js'
import { LargeNeedle } from '../../dist/storage/needle-reader.js'
import { Store } from '../../dist/storage/store.js'

export const SIGNAL = new AbortController().signal

const KIB = 1024
const BALLAST_BYTES = 256 * KIB
const KEY = Buffer.alloc(16, 'hayloft crash lane')

const SUPER_BLOCK = {
  version: 3,
  replicaPlacement: { otherDataCenters: 0, otherRacks: 0, otherServers: 0 },
  ttl: TTL_NONE,
  compactionRevision: 0,
  extra: Buffer.alloc(0),
}

/** A store in one directory. `disk` may be one that watches what is called. */
export function openStore(directory, options = {}) {
  const { disk = new NodeDisk(), durability = 'fsync', reserveBytes = 0, ballastBytes } = options
  const random = { u32: () => randomBytes(4).readUInt32LE() }
  return Store.open(
    { disk, clock: systemClock, logger: silentLogger, random },
    [directory],
    {
      durability: { mode: durability },
      volumeSizeMaxBytes: 2 ** 34,
      space: { reserveBytes, ballastBytes: ballastBytes ?? BALLAST_BYTES },
    },
    SIGNAL,
  )
}

/** Opens a store for one function, and closes it. */
export async function withStore(directory, options, run) {
  const store = await openStore(directory, options)
  try {
    return await run(store)
  } finally {
    await store[Symbol.asyncDispose]()
  }
}

export async function createVolume(store, ledger, volume) {
  await ledger.promise(`volume ${volume} writable`, () =>
    store.createVolume({ collection: '', volumeId: volumeId(volume) }, SUPER_BLOCK),
  )
}

export function volumeOf(store, volume) {
  return store.get(volumeId(volume)).volume
}

export function removeVolume(store, ledger, volume) {
  return ledger.promise(`volume ${volume} absent`, () => store.removeVolume(volumeId(volume)))
}

export function sealVolume(store, ledger, volume) {
  return ledger.promise(`volume ${volume} sealed`, () => volumeOf(store, volume).seal())
}

export function putNeedle(store, ledger, volume, id) {
  const version = ledger.nextVersion(volume, id)
  const data = contentOf(volume, id, version)
  const input = { ...requestOf(id), data, attributes: {} }
  return ledger.promise(`needle ${volume} ${id} ${version}`, () =>
    volumeOf(store, volume).put(input, SIGNAL),
  )
}

export function deleteNeedle(store, ledger, volume, id) {
  return ledger.promise(`needle ${volume} ${id} 0`, () =>
    volumeOf(store, volume).delete(requestOf(id), SIGNAL),
  )
}

/** The data stored under an id; undefined when there is none. */
export async function readNeedle(store, volume, id) {
  try {
    const found = await volumeOf(store, volume).read(requestOf(id))
    if (!(found instanceof LargeNeedle)) return found.data
    throw new Error('a needle of at most 64 KiB was streamed')
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return undefined
    throw error
  }
}

function requestOf(id) {
  return { id: needleIdFromNumber(id), cookie: Math.imul(id, 0x9e3779b1) >>> 0 }
}

/** Bytes that no other version of any needle has; 0 to 64 KiB, mostly small. */
export function contentOf(volume, id, version) {
  const seed = Buffer.alloc(16)
  seed.writeUInt32BE(volume, 0)
  seed.writeUInt32BE(id, 4)
  seed.writeUInt32BE(version, 8)
  const stream = createCipheriv('aes-128-ctr', KEY, seed)
  const chance = stream.update(Buffer.alloc(8))
  const sizeMax = [0, KIB, KIB, KIB, 4 * KIB, 4 * KIB, 16 * KIB, 64 * KIB][chance[0] & 7]
  return stream.update(Buffer.alloc(chance.readUInt32BE(1) % (sizeMax + 1)))
}

/** Repeatable chance: enough for choosing operations. */
export function createChance(seed) {
  let state = seed >>> 0
  return (count) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * count)
  }
}
