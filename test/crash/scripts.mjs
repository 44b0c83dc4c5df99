import { statfsSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { needleIdFromNumber } from '../../dist/base/ids.js'
import {
  createVolume,
  deleteNeedle,
  openStore,
  putNeedle,
  readNeedle,
  SIGNAL,
  volumeOf,
  withStore,
} from './parts.mjs'
import { MAIN_VOLUME, openMainVolume } from './workload.mjs'

/** Many small volumes; then waits to be killed, or closes them. */
export async function fillVolumes(directory, ledger, { volumes, needles, isClosed }) {
  const store = await openStore(directory)
  for (let volume = 1; volume <= volumes; volume++) {
    await createVolume(store, ledger, volume)
    const puts = Array.from({ length: needles }, (_, index) => {
      const id = needleIdFromNumber(index + 1)
      const input = { id, cookie: 1, data: Buffer.alloc(100, index), attributes: {} }
      return volumeOf(store, volume).put(input, SIGNAL)
    })
    await Promise.all(puts)
  }
  if (isClosed) await store[Symbol.asyncDispose]()
}

/** Writes until a sync fails, then tries what must not work any more, and what must. */
export async function fillUntilSyncFails(directory, ledger, { putsMax }) {
  const store = await openStore(directory)
  await openMainVolume(store, ledger)
  const volume = volumeOf(store, MAIN_VOLUME)
  let failure
  let at = 1
  for (; failure === undefined && at <= putsMax; at += 4) {
    const batch = [at, at + 1, at + 2, at + 3]
    const puts = batch.map((id) => putNeedle(store, ledger, MAIN_VOLUME, id))
    for (const { status, reason } of await Promise.allSettled(puts)) {
      if (status === 'rejected') failure ??= reason
    }
  }
  const ackedBefore = ledger.ackedNow
  const stateAfter = volume.state
  const refusals = new Set()
  for (let more = 0; more < 20; more++) {
    const write = more % 2 === 0 ? putNeedle : deleteNeedle
    await write(store, ledger, MAIN_VOLUME, 1 + more).catch((error) => refusals.add(error.code))
  }
  const reads = { right: 0, failed: 0 }
  for (const [key, entry] of ledger.needles) {
    if (entry.known === 0) continue
    const found = await readNeedle(store, MAIN_VOLUME, Number(key.split(' ')[1])).catch(String)
    if (Buffer.isBuffer(found)) reads.right++
    else reads.failed++
  }
  const ackedAfter = ledger.ackedNow - ackedBefore
  await store[Symbol.asyncDispose]()
  return { failure: failure?.code, state: stateAfter, refusals: [...refusals], reads, ackedAfter }
}

const VOLUMES = [1, 2, 3, 4]

/** Fills a small disk, and shows what still works on it. */
export function fillDisk(directory, ledger, options) {
  return withStore(directory, options, async (store) => {
    const steps = {}
    for (const volume of VOLUMES) await createVolume(store, ledger, volume)
    steps.full = await putUntilRefused(store, ledger)
    steps.readsWhenFull = await countReadable(store, ledger)
    steps.deletes = await deleteSome(store, ledger, (volume) => volume < 4)
    steps.vacuumedBytes = 0
    for (const volume of VOLUMES) {
      const { bytesBefore, bytesAfter } = await volumeOf(store, volume).vacuum({}, SIGNAL)
      steps.vacuumedBytes += bytesBefore - bytesAfter
    }
    for (const { space } of store.locations) await space.refresh()
    steps.again = await putUntilRefused(store, ledger)
    steps.foreign = await fillWithForeignFile(store, ledger, directory)
    return steps
  })
}

/** Another program fills the disk to the last byte. */
async function fillWithForeignFile(store, ledger, directory) {
  const path = join(directory, 'foreign')
  writeFileSync(path, '')
  const chunks = [2 ** 20, 4096, 1]
  for (const bytes of chunks) {
    const chunk = Buffer.alloc(bytes)
    try {
      for (;;) writeFileSync(path, chunk, { flag: 'a' })
    } catch (error) {
      if (error.code !== 'ENOSPC') throw error
    }
  }
  const { bavail } = statfsSync(directory)
  for (const { space } of store.locations) await space.refresh()
  const put = await putNeedle(store, ledger, 1, 1).then(
    () => 'stored',
    (error) => error.code,
  )
  const deletes = await deleteSome(store, ledger, (volume) => volume === 4)
  const readable = await countReadable(store, ledger)
  truncateSync(path, 0)
  unlinkSync(path)
  for (const { space } of store.locations) await space.refresh()
  const putAfter = await putNeedle(store, ledger, 1, 1).then(
    () => 'stored',
    (error) => error.code,
  )
  return { freeBlocks: bavail, put, deletes, readable, putAfter }
}

async function putUntilRefused(store, ledger) {
  let puts = 0
  const refusals = new Set()
  const first =
    1 + Math.max(0, ...[...ledger.needles.keys()].map((key) => Number(key.split(' ')[1])))
  for (let id = first; refusals.size === 0; id++) {
    const all = VOLUMES.map((volume) => putNeedle(store, ledger, volume, id))
    for (const { status, reason } of await Promise.allSettled(all)) {
      if (status === 'fulfilled') puts++
      else refusals.add(reason.code)
    }
  }
  return { puts, refusals: [...refusals] }
}

async function deleteSome(store, ledger, isChosen) {
  let deleted = 0
  for (const [key, entry] of ledger.needles) {
    const [volume, id] = key.split(' ').map(Number)
    if (entry.known === 0 || !isChosen(volume)) continue
    await deleteNeedle(store, ledger, volume, id)
    deleted++
  }
  return deleted
}

async function countReadable(store, ledger) {
  let readable = 0
  for (const [key, entry] of ledger.needles) {
    if (entry.known === 0) continue
    const [volume, id] = key.split(' ').map(Number)
    if ((await readNeedle(store, volume, id)) !== undefined) readable++
  }
  return readable
}

/** Many writers at once. */
export function putInOneTurn(directory, ledger, { puts }) {
  return withStore(directory, {}, async (store) => {
    await openMainVolume(store, ledger)
    const ids = Array.from({ length: puts }, (_, index) => index + 1)
    await Promise.all(ids.map((id) => putNeedle(store, ledger, MAIN_VOLUME, id)))
  })
}

/** One put on each of two volumes at once; how long each took. */
export function putOnTwo(directory, ledger) {
  return withStore(directory, {}, async (store) => {
    for (const volume of [1, 2]) {
      if (store.find(volume) === undefined) await createVolume(store, ledger, volume)
    }
    const startedAt = performance.now()
    const timed = async (volume) => {
      await putNeedle(store, ledger, volume, 1)
      return Math.round(performance.now() - startedAt)
    }
    const [first, second] = await Promise.all([timed(1), timed(2)])
    return { first, second }
  })
}
