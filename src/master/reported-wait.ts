import type { Clock } from '../runtime/clock.ts'

/** What was just made and its server has not reported yet is waited for. */
const REPORT_WAIT_MS = 1000
const REPORT_LOOK_MS = 25

/**
 * What `look` finds; undefined if that is nothing for a second, or `isHopeless` before it is over.
 *
 * @throws {StoreError} CANCELLED; whatever `look` throws.
 */
export async function untilFound<Found>(
  clock: Clock,
  look: () => Found | undefined,
  isHopeless: () => boolean,
  signal: AbortSignal,
): Promise<Found | undefined> {
  const untilMs = clock.monotonicMs() + REPORT_WAIT_MS
  for (;;) {
    const found = look()
    if (found !== undefined) return found
    if (clock.monotonicMs() >= untilMs || isHopeless()) return undefined
    await clock.sleep(REPORT_LOOK_MS, signal)
  }
}
