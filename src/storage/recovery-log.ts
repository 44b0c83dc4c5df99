import type { Logger } from '../runtime/logger.ts'
import type { RecoveryReport } from './recovery.ts'

/** One event for each thing that opening a volume found or mended. */
export function logRecovery(logger: Logger, volume: string, report: RecoveryReport): void {
  const { cutBytes, indexRebuilt, tailNeedles, corruptNeedles, damage } = report
  if (cutBytes > 0) logger.warn('volume.torn_tail', { volume, cutBytes })
  if (indexRebuilt !== undefined) {
    logger.warn('volume.index_rebuilt', { volume, reason: indexRebuilt })
  } else if (tailNeedles > 0) {
    logger.info('volume.tail_indexed', { volume, tailNeedles })
  }
  if (corruptNeedles > 0) logger.error('volume.bit_rot', { volume, corruptNeedles })
  if (damage !== undefined) logger.error('volume.damaged', { volume, reason: damage })
}
