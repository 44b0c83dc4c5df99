import { isStoreError } from '../../dist/base/store-error.js'
import {
  createChance,
  createVolume,
  deleteNeedle,
  putNeedle,
  removeVolume,
  SIGNAL,
  sealVolume,
  volumeOf,
} from './parts.mjs'

export const MAIN_VOLUME = 1
const IDS_PER_WRITER = 100
const SIDE_NEEDLES = 12
const SIDE_VOLUME_FIRST = 1000

/** What may meet a writer whose disk goes away under it. */
const DISK_GONE = [
  'DISK_FAILED',
  'DISK_FULL',
  'VOLUME_FAILED',
  'DIRECTORY_UNUSABLE',
  'CLOSED',
  'CANCELLED',
]

/** Opens the main volume of the workload, making it in the first run. */
export async function openMainVolume(store, ledger) {
  if (ledger.stateOf(MAIN_VOLUME) === 'absent') await createVolume(store, ledger, MAIN_VOLUME)
}

/**
 * Writes until the disk goes away: some writers with ids of their own in the main volume, vacuums
 * and checkpoints now and then, and one that makes, fills, seals and removes further volumes.
 */
export async function runWorkload(store, ledger, options) {
  const { seed, writers, withHousekeeping = true, withSideVolumes = true } = options
  const running = []
  for (let writer = 0; writer < writers; writer++) {
    running.push(writeOn(store, ledger, { writer, chance: createChance(seed * 1000 + writer) }))
  }
  const chance = createChance(seed)
  if (withHousekeeping) running.push(keepHouse(store, chance))
  if (withSideVolumes) running.push(cycleVolumes(store, ledger, createChance(seed + 7)))
  await Promise.all(running.map((loop) => loop.catch(reportUnlessDiskIsGone)))
}

export function reportUnlessDiskIsGone(error) {
  if (isDiskGone(error)) return
  const what = String(error?.stack ?? error).replaceAll('\n', ' ')
  process.stdout.write(`unexpected ${what}\n`)
}

function isDiskGone(error) {
  if (isStoreError(error, ...DISK_GONE)) return true
  if (error?.error === undefined || error.suppressed === undefined) return false
  return isDiskGone(error.error) && isDiskGone(error.suppressed)
}

async function writeOn(store, ledger, { writer, chance }) {
  for (;;) {
    const id = 1 + writer * IDS_PER_WRITER + chance(IDS_PER_WRITER)
    if (chance(4) > 0) await putNeedle(store, ledger, MAIN_VOLUME, id)
    else await deleteNeedle(store, ledger, MAIN_VOLUME, id)
  }
}

async function keepHouse(store, chance) {
  const volume = volumeOf(store, MAIN_VOLUME)
  for (;;) {
    await pause(5 + chance(60))
    if (chance(2) === 0) await volume.checkpoint()
    else await volume.vacuum(chance(2) === 0 ? { tombstones: 'keep' } : {}, SIGNAL)
  }
}

async function cycleVolumes(store, ledger, chance) {
  for (;;) {
    await pause(chance(40))
    const volume = Math.max(SIDE_VOLUME_FIRST, ...ledger.volumes.keys()) + 1
    await createVolume(store, ledger, volume)
    const ids = Array.from({ length: SIDE_NEEDLES }, (_, index) => index + 1)
    await Promise.all(ids.map((id) => putNeedle(store, ledger, volume, id)))
    await sealVolume(store, ledger, volume)
    await deleteNeedle(store, ledger, volume, 1 + chance(SIDE_NEEDLES))
    if (chance(4) > 0) await removeVolume(store, ledger, volume)
  }
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
