import type { Clock } from '../runtime/clock.ts'

/** People see no difference, and each report costs two processes some work. */
const REPORT_EVERY_MS = 200

/**
 * Runs `run` and shows what it reports: the first report, then one now and then, and always the
 * last. Whoever stops taking them stops the run, and waits until it has.
 */
export async function* streamProgress<Report>(
  clock: Clock,
  run: (report: (report: Report) => void, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): AsyncGenerator<Report, void, undefined> {
  const stop = new AbortController()
  let newest: Report | undefined
  let isOver = false
  let wake: () => void = () => undefined
  let endPause: () => void = () => undefined
  const tell = (report: Report): void => {
    newest = report
    wake()
  }
  const running = run(tell, AbortSignal.any([signal, stop.signal])).finally(() => {
    isOver = true
    wake()
    endPause()
  })
  const pause = async (): Promise<void> => {
    const over = new Promise<void>((resolve) => {
      endPause = resolve
    })
    using _timer = clock.after(REPORT_EVERY_MS, () => endPause())
    await over
  }
  // Whether it failed is asked for below, perhaps a while after it has.
  running.catch(() => undefined)
  try {
    for (;;) {
      while (newest !== undefined) {
        const report = newest
        newest = undefined
        yield report
        if (!isOver) await pause()
      }
      if (isOver) break
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    await running
  } finally {
    stop.abort()
    await running.catch(() => 'thrown above, unless nobody takes reports any more')
  }
}
