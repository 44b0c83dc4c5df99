import { formatNeedleId, type NeedleId, needleId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { decodeNeedleHeader, NEEDLE_CHECKSUM_BYTES, NEEDLE_HEADER_BYTES } from '../format/needle.ts'
import { superBlockBytes } from '../format/super-block.ts'
import { type DiskFile, readFully } from '../runtime/disk.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { Generation } from './generation.ts'
import { LiveOffsets, needlesAt, regionsOf } from './live-offsets.ts'
import { RecordScanner } from './record-scanner.ts'
import type { CopyOptions, DeletedNeedle, VacuumCopier } from './vacuum-copy.ts'
import { WorkWindow } from './work-pace.ts'

const ENTRIES_PER_TURN = 512

/**
 * Copies what lives as the index says, not as the chain of records leads: wrong bytes that no live
 * needle needs, a broken chain among them, are left out. Deletions are made anew from the index.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: a live needle cannot be read. DISK_FULL, CANCELLED.
 */
export async function copyAround(
  old: Generation,
  copier: VacuumCopier,
  options: CopyOptions,
  rest: () => Promise<void>,
): Promise<void> {
  const range = { fromBytes: superBlockBytes(old.superBlock), toBytes: old.endBytes }
  const { signal } = options
  const giveWay = async (): Promise<void> => {
    checkSignal(signal)
    await yieldTurn()
  }
  const scanner = new RecordScanner(old.dat, { version: old.version, ...range, onPiece: rest })
  const window = new WorkWindow(rest)
  for (const region of regionsOf(old.map.entryCount, range)) {
    const offsets = await LiveOffsets.collect(old.map, region, giveWay)
    const unlike = new Set<number>()
    for (let at = offsets.next(region.toBytes); at !== undefined; ) {
      scanner.seek(at)
      const record = await scanner.next()
      if (record === undefined || !isNeedleAt(old, record.header.id, at)) unlike.add(at)
      else await copier.copyLive(record)
      if (window.isFull(record?.recordBytes ?? 0)) {
        options.onProgress(at)
        await window.rest()
      }
      checkSignal(signal)
      at = offsets.next(region.toBytes)
    }
    // Those that were overwritten or deleted since are copied with what was appended meanwhile.
    for (const { offsetBytes, id } of await needlesAt(old.map, unlike, giveWay)) {
      const what = `another record, or none, lies at byte ${offsetBytes}; nothing was changed`
      throw new StoreError('NEEDLE_CORRUPT', `needle ${formatNeedleId(id)}: ${what}`)
    }
  }
  if (options.keepTombstones) await copyDeletions(old, copier, rest, signal)
  await copier.finishUpTo(range.toBytes)
}

function isNeedleAt(generation: Generation, id: NeedleId, offsetBytes: number): boolean {
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  const isKnown = generation.map.lookup(id, location)
  return isKnown && !location.isDeleted && location.offsetBytes === offsetBytes
}

async function copyDeletions(
  old: Generation,
  copier: VacuumCopier,
  rest: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  // A needle that heals may put another map in its place; what is deleted then is copied later.
  const { map } = old
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    const found: { id: NeedleId; offsetBytes: number; sizeBytes: number }[] = []
    cursor = map.visitSome(cursor, ENTRIES_PER_TURN, (hi, lo, at, sizeBytes, isDeleted) => {
      if (isDeleted) found.push({ id: needleId(hi, lo), offsetBytes: at, sizeBytes })
    })
    for (const entry of found) await copier.copyDeletion(await readDeleted(old.dat, entry))
    checkSignal(signal)
    await rest()
  }
}

/** Cookie and checksum of what was deleted, where they can still be read. */
export async function readDeleted(
  dat: DiskFile,
  entry: { readonly id: NeedleId; readonly offsetBytes: number; readonly sizeBytes: number },
): Promise<DeletedNeedle> {
  const { id, offsetBytes, sizeBytes } = entry
  const head = await readFully(dat, NEEDLE_HEADER_BYTES, offsetBytes)
  const tail = await readFully(
    dat,
    NEEDLE_CHECKSUM_BYTES,
    offsetBytes + NEEDLE_HEADER_BYTES + sizeBytes,
  )
  const nothing = { id, cookie: 0, checksum: 0 }
  try {
    const header = decodeNeedleHeader(head, 0)
    const isThatNeedle = header.id.hi === id.hi && header.id.lo === id.lo
    if (!isThatNeedle) return nothing
    const isWhole = header.sizeBytes === sizeBytes && tail.length === NEEDLE_CHECKSUM_BYTES
    return { id, cookie: header.cookie, checksum: isWhole ? tail.readUInt32BE(0) : 0 }
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_CORRUPT')) return nothing
    throw error
  }
}

function checkSignal(signal: AbortSignal): void {
  if (signal.aborted) throw new StoreError('CANCELLED', 'vacuum was cancelled')
}
