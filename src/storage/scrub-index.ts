import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import { type Disk, readFully } from '../runtime/disk.ts'
import type { Generation } from './generation.ts'
import { readSidecar } from './recovery.ts'
import type { KnownBlocks } from './scrub-blocks.ts'
import type { VolumeInfoFile } from './volume-info-file.ts'
import type { VolumePaths } from './volume-paths.ts'

interface SmallFilesParts {
  readonly disk: Disk
  readonly paths: VolumePaths
  readonly info: VolumeInfoFile
}

/**
 * What is wrong with the files beside `.dat`, `.idx` aside, in words. Only while nothing is
 * written.
 *
 * @throws {StoreError} DISK_FAILED.
 */
export async function checkSmallFiles(
  parts: SmallFilesParts,
  generation: Generation,
  known: KnownBlocks,
): Promise<string[]> {
  const { disk, paths, info } = parts
  const problems: string[] = []
  const stat = await disk.stat(paths.dat)
  if (stat === undefined) problems.push('.dat has lost its name')
  const damage = await info.findDamage()
  if (damage !== undefined) problems.push(damage)
  // A volume that was found damaged, or has an index that is only read, has none of our making.
  if (generation.log.isReadOnly) return problems
  const { sidecar, problem } = await readSidecar(disk, paths, generation.superBlock)
  if (sidecar === undefined) return [...problems, problem]
  const { watermarkBytes, blockBytes, blockCrcs } = sidecar
  const wholeBlocks = Math.floor(Math.min(watermarkBytes, known.datBytes) / known.blockBytes)
  const isSame =
    blockBytes === known.blockBytes &&
    known.crcs.subarray(0, wholeBlocks).every((crc, index) => crc === blockCrcs[index])
  return isSame ? problems : [...problems, '.sum has other checksums than what was written']
}

/**
 * What is wrong with the first `idxBytes` bytes of `.idx`, which had the checksum `idxCrc` when
 * they were written; undefined: nothing. Calls `giveWay` after each piece.
 *
 * @throws {StoreError} DISK_FAILED; what `giveWay` throws.
 */
export async function checkIndexFile(
  parts: Pick<SmallFilesParts, 'disk' | 'paths'>,
  written: { readonly idxBytes: number; readonly idxCrc: number },
  giveWay: () => Promise<void>,
): Promise<string | undefined> {
  const { disk, paths } = parts
  try {
    await using idx = await disk.open(paths.idx, 'read')
    let crc = 0
    for (let at = 0; at < written.idxBytes; ) {
      const length = Math.min(LIMITS.streamPiece.value, written.idxBytes - at)
      const piece = await readFully(idx, length, at)
      if (piece.length === 0) return `.idx ends at byte ${at} of ${written.idxBytes}`
      crc = crc32c(piece, crc)
      at += piece.length
      await giveWay()
    }
    return crc === written.idxCrc ? undefined : '.idx is not what was written to it'
  } catch (error) {
    if (isStoreError(error, 'PATH_NOT_FOUND')) return '.idx is gone'
    throw error
  }
}
