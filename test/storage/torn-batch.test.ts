import { describe, expect, test } from 'vitest'
import { isStoreError } from '../../src/base/store-error.ts'
import { TOMBSTONE_BYTES } from '../../src/format/needle.ts'
import { LargeNeedle } from '../../src/storage/needle-reader.ts'
import { Prng, seeds } from '../support/prng.ts'
import { cookieOf, SIGNAL, settle, TestVolume, toId } from '../support/test-volume.ts'

const SECTOR_BYTES = 512
/** Header, data size, attributes, checksum and stamp of a needle without a name. */
const OVERHEAD_BYTES = 16 + 4 + 8 + 4 + 8

// Goal: whatever a disk keeps of a write that was not acknowledged, the needle it was about is as
// it was before or as it was to be, and no other needle changes. Lost sectors read as zeros: what
// is left of a record may look like an empty needle, like a deletion, or like one of another id.
// Method: bring the end of .dat to a chosen place in a sector, overwrite or delete a needle there,
// cut the power in the middle of the sync. Replay: SEED=17.
describe('a batch of which a power cut keeps any sectors', () => {
  const places = [456, 472, 480, 488, 496, 504, 0, 8]

  test.each(places)(
    'beginning at byte %d of a sector is all there or not at all',
    async (place) => {
      for (const seed of seeds(60)) await cutAt(place, seed)
    },
  )
})

async function cutAt(place: number, seed: number): Promise<void> {
  const prng = new Prng(seed)
  await using test = await TestVolume.create({ seed })
  const wide = { hi: 5, lo: 1 }
  const put = (id: { hi: number; lo: number }, data: Buffer) =>
    test.volume.put({ id, cookie: cookieOf(1), data, attributes: { name: 'n' } }, SIGNAL)
  const old = Buffer.from('old')
  for (const id of [toId(0), toId(1), wide, { hi: 5, lo: 0 }]) await put(id, old)
  await fillUpTo(test, place)
  if (prng.chance(0.5)) await test.volume.checkpoint()

  const target = prng.pick([toId(1), wide])
  const isDelete = prng.chance(0.3)
  const pairs = { p: 'x'.repeat(prng.pick([1, 600, 1500])) }
  const fresh = prng.pick([prng.bytes(prng.between(1, 2000)), Buffer.alloc(prng.between(0, 2000))])
  test.disk.cutPowerAfter(prng.between(1, 3))
  const input = { id: target, cookie: cookieOf(1), data: fresh, attributes: { name: 'n', pairs } }
  const write = isDelete
    ? test.volume.delete({ id: target, cookie: cookieOf(1) }, SIGNAL)
    : test.volume.put(input, SIGNAL)
  const others = Array.from({ length: prng.below(4) }, (_, index) => ({ hi: 9, lo: 200 + index }))
  const data = prng.bytes(prng.between(1, 900))
  const rest = Promise.allSettled(others.map((id) => put(id, data)))
  const isAcked = await write.then(
    () => true,
    () => false,
  )
  await rest
  await settle()
  test.disk.restart()
  await test.open()
  for (const id of [toId(0), toId(1), wide, { hi: 5, lo: 0 }]) {
    const found = await read(test, id)
    const isTarget = id.hi === target.hi && id.lo === target.lo
    const next = isDelete ? 'gone' : fresh.toString('hex')
    const allowed = isTarget
      ? isAcked
        ? [next]
        : [old.toString('hex'), next]
      : [old.toString('hex')]
    expect(allowed, `${place} ${seed} ${id.hi}/${id.lo}`).toContain(found)
  }
  for (const id of others) {
    expect(['gone', data.toString('hex')], `${place} ${seed}`).toContain(await read(test, id))
  }
  expect(test.volume.stats.liveNeedles).toBeLessThanOrEqual(5 + others.length)
}

async function read(test: TestVolume, id: { hi: number; lo: number }): Promise<string> {
  try {
    const found = await test.volume.read({ id, cookie: cookieOf(1) })
    if (found instanceof LargeNeedle) throw new Error('2000 bytes are large')
    const { name } = found.attributes()
    return name === 'n' ? found.data.toString('hex') : `named ${name}`
  } catch (error) {
    if (!isStoreError(error)) throw error
    return error.code === 'NEEDLE_NOT_FOUND' ? 'gone' : error.code
  }
}

/** Puts needles until the next record begins at this byte of a sector. */
async function fillUpTo(test: TestVolume, place: number): Promise<void> {
  const { datBytes } = test.volume.stats
  const missing = (2 * SECTOR_BYTES + place - (datBytes % SECTOR_BYTES)) % SECTOR_BYTES
  const wanted = missing < OVERHEAD_BYTES + TOMBSTONE_BYTES ? missing + SECTOR_BYTES : missing
  await test.put(99, Buffer.alloc(wanted - OVERHEAD_BYTES - 8, 7))
  expect(test.volume.stats.datBytes % SECTOR_BYTES).toBe(place)
}
