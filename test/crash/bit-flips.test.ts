import { expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import type { Disk } from '../../src/runtime/disk.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { checkVolume } from '../../src/storage/check-volume.ts'
import { LargeNeedle } from '../../src/storage/needle-reader.ts'
import { Volume } from '../../src/storage/volume.ts'
import { UNGUARDED_SPACE } from '../../src/storage/volume-options.ts'
import { volumePaths } from '../../src/storage/volume-paths.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { cookieOf, PLAIN_SUPER_BLOCK, SIGNAL, toId } from '../support/volume-model.ts'

const FLIPS = 1000
const NEEDLES = 60
const DELETED = 7
const OPTIONS = { durability: { mode: 'fsync' }, sizeMaxBytes: 2 ** 30 } as const
const PARTS = { clock: systemClock, logger: silentLogger, space: UNGUARDED_SPACE }
const PATHS = volumePaths('/v', { collection: '', volumeId: volumeId(7) })
const FILES = ['dat', 'idx', 'sum', 'vif'] as const

type Files = Readonly<Record<(typeof FILES)[number], Buffer>>

/** What each id must read as; undefined: deleted. */
type Stored = ReadonlyMap<number, Buffer | undefined>

/** What one flipped bit led to. */
interface Outcome {
  wrong: number
  /** Needles that are simply not there any more, and nothing says why. */
  silent: number
  isRefused: boolean
  /** Takes puts again. */
  isUnsealed: boolean
}

// Goal: rot never shows as a wrong byte, and a check finds it.
// Method: flip one random bit in one file of a closed, sealed volume; check it; open it; read every
// needle; compare. Each file gets the same share of the flips. A `.vif` has no checksum (it is JSON
// that other systems write too), so a check can only find there what matters to the volume.
test(`${FLIPS} single flipped bits: no wrong byte is read, and a check sees each`, async () => {
  const prng = new Prng(3)
  const { files, stored } = await makeVolume(prng)
  const figures = new Map(FILES.map((file) => [file, { flips: 0, found: 0, refused: 0 }]))
  const sum = { wrong: 0, silent: 0, unsealed: 0 }
  const surprises: string[] = []
  for (let flip = 0; flip < FLIPS; flip++) {
    const disk = new MemDisk(prng)
    for (const file of FILES) disk.put(PATHS[file], files[file])
    const file = FILES[flip % FILES.length] ?? 'dat'
    const at = prng.below(files[file].length)
    const bit = prng.below(8)
    disk.flipBit(PATHS[file], at, bit)
    const { ok } = await checkVolume(disk, PATHS, {}, SIGNAL)
    const outcome = await readAll(disk, stored)
    expect(disk.openFiles).toBe(0)
    const figure = figures.get(file) ?? { flips: 0, found: 0, refused: 0 }
    figure.flips++
    if (!ok) figure.found++
    if (outcome.isRefused) figure.refused++
    sum.wrong += outcome.wrong
    sum.silent += outcome.silent
    if (ok && outcome.isUnsealed) sum.unsealed++
    const isMissed = ok && (file !== 'vif' || outcome.isUnsealed)
    if (!isMissed && outcome.wrong === 0 && outcome.silent === 0) continue
    surprises.push(`bit ${bit} of byte ${at} of .${file}: ${JSON.stringify({ ok, ...outcome })}`)
  }
  const lines = [...figures].map(([file, { flips, found, refused }]) => {
    return `.${file} ${found} of ${flips} found, ${refused} volumes refused`
  })
  console.log(
    `bit-flips: ${FLIPS} flips, ${sum.wrong} wrong reads, ${sum.silent} silent losses, ` +
      `${sum.unsealed} silently unsealed; checks: ${lines.join('; ')}`,
  )
  expect(surprises).toEqual([])
})

async function makeVolume(prng: Prng): Promise<{ files: Files; stored: Stored }> {
  const disk = new MemDisk(prng)
  await disk.createDirectory(PATHS.directory)
  const stored = new Map<number, Buffer | undefined>()
  {
    const options = { ...OPTIONS, superBlock: PLAIN_SUPER_BLOCK }
    await using volume = await Volume.create({ ...PARTS, disk }, PATHS, options)
    for (let id = 1; id <= NEEDLES; id++) {
      const data = prng.bytes(prng.pick([0, 1, 100, 1000, 5000]))
      const request = { id: toId(id), cookie: cookieOf(id) }
      await volume.put({ ...request, data, attributes: {} }, SIGNAL)
      stored.set(id, data)
      if (id % DELETED === 0) {
        await volume.delete(request, SIGNAL)
        stored.set(id, undefined)
      }
    }
    await volume.seal()
  }
  const [dat, idx, sum, vif] = FILES.map((file) => disk.contents(PATHS[file]))
  if (!dat || !idx || !sum || !vif) throw new Error('a sealed volume has four files')
  return { files: { dat, idx, sum, vif }, stored }
}

async function readAll(disk: Disk, stored: Stored): Promise<Outcome> {
  const outcome = { wrong: 0, silent: 0, isRefused: false, isUnsealed: false }
  try {
    await using volume = await Volume.open({ ...PARTS, disk }, PATHS, OPTIONS)
    outcome.isUnsealed = volume.state === 'writable'
    for (const [id, data] of stored) {
      const found = await readOne(volume, id)
      if (found === 'refused') continue
      if (found !== undefined && (data === undefined || !data.equals(found))) outcome.wrong++
      const isMissing = found === undefined && data !== undefined
      if (isMissing && volume.state !== 'damaged') outcome.silent++
    }
  } catch (error) {
    if (!isStoreError(error)) throw error
    outcome.isRefused = true
  }
  return outcome
}

async function readOne(volume: Volume, id: number): Promise<Buffer | undefined | 'refused'> {
  try {
    const found = await volume.read({ id: toId(id), cookie: cookieOf(id) })
    if (found instanceof LargeNeedle) throw new Error('a small needle was streamed')
    return found.data
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return undefined
    if (isStoreError(error)) return 'refused'
    throw error
  }
}
