/**
 * Runs `run` and shows what it reports. Reports that come faster than they are taken are left out,
 * the newest is always shown. Whoever stops taking them stops the run, and waits until it has.
 */
export async function* streamProgress<Report>(
  run: (report: (report: Report) => void, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): AsyncGenerator<Report, void, undefined> {
  const stop = new AbortController()
  let newest: Report | undefined
  let isOver = false
  let wake: () => void = () => undefined
  const tell = (report: Report): void => {
    newest = report
    wake()
  }
  const running = run(tell, AbortSignal.any([signal, stop.signal])).finally(() => {
    isOver = true
    wake()
  })
  // Whether it failed is asked for below, perhaps a while after it has.
  running.catch(() => undefined)
  try {
    for (;;) {
      while (newest !== undefined) {
        const report = newest
        newest = undefined
        yield report
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
