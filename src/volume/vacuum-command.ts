import type { VacuumCommand, VacuumProgress } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Store } from '../storage/store.ts'
import { Rest } from './rest.ts'

/**
 * Vacuums a volume of this server, and reports how far it is. Errors as `Volume.vacuum`;
 * REQUEST_INVALID: a politeness that makes no sense.
 */
export async function runVacuum(
  parts: { readonly store: Store; readonly clock: Clock },
  command: VacuumCommand,
  report: (progress: VacuumProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  const { volume } = parts.store.get(command.volumeId)
  const rest = new Rest(parts, command.politeness, signal)
  const totalBytes = volume.stats.datBytes
  let isVerifying = false
  const onProgress = (copiedBytes: number): void => {
    // What was written meanwhile is copied at last, and takes no time.
    if (isVerifying) return
    report({ phase: 'copying', copiedBytes, totalBytes: Math.max(totalBytes, copiedBytes) })
  }
  const onVerified = (copiedBytes: number, copyBytes: number): void => {
    isVerifying = true
    report({ phase: 'verifying', copiedBytes, totalBytes: copyBytes })
  }
  const options = {
    // Not by the number of copies: one that is being moved has a second one nobody counts yet.
    tombstones: command.dropsTombstones ? ('drop' as const) : ('keep' as const),
    skipsDamage: command.skipsDamage,
    pace: (workMs: number): Promise<void> => rest.after(workMs),
    onProgress,
    onVerified,
  }
  const { bytesAfter } = await volume.vacuum(options, signal)
  report({ phase: 'done', copiedBytes: bytesAfter, totalBytes: bytesAfter })
}
