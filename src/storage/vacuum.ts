import { copyCount, type ReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import { encodeSuperBlock, superBlockBytes } from '../format/super-block.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Disk, readFully, unlinkIfThere, writeFully } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { AppendClock } from './append-clock.ts'
import { BlockChecksums } from './block-checksums.ts'
import { encodeSidecarOf } from './checkpointer.ts'
import { Generation } from './generation.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import { IndexLog } from './index-log.ts'
import type { NeedleLocation } from './needle-map.ts'
import { RecordScanner } from './record-scanner.ts'
import { VacuumCopier } from './vacuum-copy.ts'
import { copyAround } from './vacuum-salvage.ts'
import { prepareSwitch, switchGenerations, vacuumDrafts } from './vacuum-switch.ts'
import type { VolumePaths } from './volume-paths.ts'
import { type Pace, WorkPace, WorkWindow } from './work-pace.ts'

const CATCH_UP_ROUNDS = 8
const CATCH_UP_ENOUGH_BYTES = 1024 * 1024

export interface VacuumOptions {
  /**
   * Whether deletions are carried over for other copies of the volume. By default only when there
   * are other copies: a copy that has not seen a deletion must still be able to learn of it.
   */
  readonly tombstones?: 'keep' | 'drop'
  /** Told now and then how far the old file has been gone through. */
  readonly onProgress?: (doneBytes: number) => void
  /**
   * Live needles must be readable; whatever else cannot be read is left out. Deletions that are
   * kept then stand at the end of the copy.
   */
  readonly skipsDamage?: boolean
  /** Not while writers wait. */
  readonly pace?: Pace
  /** Told now and then how much of the copy has been read back. */
  readonly onVerified?: (doneBytes: number, totalBytes: number) => void
}

export interface VacuumResult {
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly needles: number
}

/** The volume being vacuumed, as vacuum sees it. */
export interface VacuumHost {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
  readonly paths: VolumePaths
  isSealed(): boolean
  replicaPlacement(): ReplicaPlacement
  generation(): Generation
  between<Result>(step: () => Promise<Result>): Promise<Result>
  /** Keeps checkpoints away while the files change places. */
  hold<Result>(step: () => Promise<Result>): Promise<Result>
  install(next: Generation): void
  /** The switch failed half-way: only the next start can finish it. */
  onSwitchFailed(error: unknown): StoreError
}

/**
 * Rewrites a volume without its garbage while writes and deletes go on. The new files are read back
 * and compared before they take the place of the old ones; until the commit marker is durable
 * a power cut leaves the old generation, after it the new one.
 *
 * @throws {StoreError} NEEDLE_CORRUPT, VOLUME_DAMAGED: the old files cannot be read; nothing was
 * changed. VACUUM_UNVERIFIED: the new files did not read back as written; nothing was changed.
 * DISK_FULL, CANCELLED: nothing was changed.
 */
export async function vacuumGeneration(
  host: VacuumHost,
  options: VacuumOptions,
  signal: AbortSignal,
): Promise<VacuumResult> {
  const old = host.generation()
  const { disk, paths } = host
  const keepTombstones =
    options.tombstones === undefined
      ? copyCount(host.replicaPlacement()) > 1
      : options.tombstones === 'keep'
  await using building = new DisposeStack()
  building.defer(() => removeDrafts(host))
  const next = building.use(await createNext(host, old))
  const copyOptions = {
    keepTombstones,
    onProgress: options.onProgress ?? (() => undefined),
    nowMs: host.clock.nowMs(),
    signal,
  }
  const copier = new VacuumCopier(old, next, superBlockBytes(old.superBlock), copyOptions)
  const pace = new WorkPace(host.clock, options.pace)
  const rest = (): Promise<void> => pace.rest()
  if (options.skipsDamage) await copyAround(old, copier, copyOptions, rest)
  await copyMost(old, copier, rest)
  const verifier = new CopyVerifier(next, options)
  await verifier.verifyUpTo(next.endBytes, rest, signal)
  const result = await host.hold(() =>
    host.between(async () => {
      await copier.copyUpTo(old.endBytes, yieldTurn)
      await verifier.verifyUpTo(next.endBytes, yieldTurn, signal)
      verifier.checkWhole()
      checkCounts(old, next, copier)
      await next.log.flush()
      await next.log.file.datasync()
      const sidecar = encodeSidecarOf(next, { isClean: false, isSealed: host.isSealed() })
      await prepareSwitch(disk, paths, sidecar)
      // From here on the drafts are no longer ours to remove.
      building.move()
      try {
        await switchGenerations(host)
      } catch (error) {
        await next[Symbol.asyncDispose]()
        throw error
      }
      // Stamps go on from the last one given out, even if its record was garbage.
      next.clock.raiseTo(old.clock.lastNs)
      host.install(next)
      return { bytesBefore: old.endBytes, bytesAfter: next.endBytes, needles: next.map.liveCount }
    }),
  )
  // Reads that began on the old files finish on them.
  await old[Symbol.asyncDispose]()
  return result
}

/**
 * Said before the copy begins, not after it has filled the disk.
 *
 * @throws {StoreError} DISK_FULL.
 */
export async function checkVacuumSpace(
  disk: Disk,
  paths: VolumePaths,
  generation: Generation,
): Promise<void> {
  const { freeBytes } = await disk.space(paths.directory)
  const neededBytes = generation.map.liveBytes
  if (freeBytes > neededBytes) return
  throw new StoreError('DISK_FULL', `a vacuum needs ${neededBytes} bytes, ${freeBytes} are free`)
}

async function createNext(host: VacuumHost, old: Generation): Promise<Generation> {
  const { disk, paths } = host
  const superBlock = {
    ...old.superBlock,
    version: 3 as const,
    compactionRevision: (old.superBlock.compactionRevision + 1) & 0xffff,
  }
  await using opening = new DisposeStack()
  const dat = opening.use(await disk.open(paths.nextDat, 'create'))
  const idx = opening.use(await disk.open(paths.nextIdx, 'create'))
  await dat.truncate(0)
  await idx.truncate(0)
  const head = encodeSuperBlock(superBlock)
  await writeFully(dat, [head], 0)
  const checksums = new BlockChecksums(old.checksums.blockBytes)
  checksums.extend(head)
  const next = new Generation({
    superBlock,
    dat,
    log: new IndexLog(idx, { lengthBytes: 0, crc: 0 }),
    map: new HashNeedleMap({ version: 3, expectedCount: old.map.liveCount }),
    checksums,
    clock: new AppendClock(old.version === 3 ? 0n : BigInt(host.clock.nowMs()) * 1_000_000n),
    endBytes: head.length,
  })
  opening.move()
  return next
}

/** Leaves little to copy for the moment in which writers have to wait. */
async function copyMost(
  old: Generation,
  copier: VacuumCopier,
  rest: () => Promise<void>,
): Promise<void> {
  for (let round = 0; round < CATCH_UP_ROUNDS; round++) {
    await copier.copyUpTo(old.endBytes, rest)
    if (old.endBytes - copier.copiedToBytes < CATCH_UP_ENOUGH_BYTES) return
  }
}

/** Reads a copy back from the file and compares it with what was written. */
export class CopyVerifier {
  readonly #next: Generation
  readonly #options: Pick<VacuumOptions, 'onVerified'>
  readonly #reread: BlockChecksums
  #verifiedTo = 0

  constructor(next: Generation, options: Pick<VacuumOptions, 'onVerified'>) {
    this.#next = next
    this.#options = options
    this.#reread = new BlockChecksums(next.checksums.blockBytes)
  }

  async verifyUpTo(toBytes: number, rest: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { dat, map, superBlock } = this.#next
    await dat.datasync()
    if (this.#verifiedTo === 0) {
      this.#verifiedTo = superBlockBytes(superBlock)
      this.#reread.extend(await readFully(dat, this.#verifiedTo, 0))
    }
    const range = { fromBytes: this.#verifiedTo, toBytes }
    const scanner = new RecordScanner(dat, {
      version: 3,
      ...range,
      checksums: this.#reread,
      onPiece: rest,
    })
    const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
    const window = new WorkWindow(rest)
    for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
      const { header, offsetBytes, isIntact } = record
      const isKnown = map.lookup(header.id, location)
      const isPlaced = isKnown && location.offsetBytes === offsetBytes
      if (!isIntact || !isKnown || (isPlaced && location.sizeBytes !== header.sizeBytes)) {
        throw unverified(`the copy at byte ${offsetBytes} does not read back as written`)
      }
      if (window.isFull(record.recordBytes)) {
        this.#options.onVerified?.(scanner.positionBytes, toBytes)
        await window.rest()
      }
      if (signal.aborted) throw new StoreError('CANCELLED', 'vacuum was cancelled')
    }
    if (scanner.end !== 'end') throw unverified(`the copy ends at byte ${scanner.positionBytes}`)
    this.#verifiedTo = toBytes
  }

  /** Every byte, also those no needle checksum covers. */
  checkWhole(): void {
    const written = Buffer.from(this.#next.checksums.toArray().buffer)
    if (written.equals(Buffer.from(this.#reread.toArray().buffer))) return
    throw unverified('a block of the copy does not read back as written')
  }
}

function checkCounts(old: Generation, next: Generation, copier: VacuumCopier): void {
  const expected = old.map.liveCount - copier.countExpired()
  if (next.map.liveCount === expected) return
  throw unverified(`the copy has ${next.map.liveCount} live needles, ${expected} were expected`)
}

function unverified(why: string): StoreError {
  return new StoreError('VACUUM_UNVERIFIED', `${why}; the old files stay in use`)
}

/**
 * What cannot be removed now is removed at the next start; the error of the vacuum matters more.
 */
async function removeDrafts(host: VacuumHost): Promise<void> {
  const { disk, logger, paths } = host
  try {
    for (const path of vacuumDrafts(paths)) await unlinkIfThere(disk, path)
  } catch (error) {
    logger.warn('vacuum.drafts_left', { volume: paths.base, error: String(error) })
  }
}
