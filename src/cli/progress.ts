import { SingleBar } from 'cli-progress'
import { formatBytes } from '../base/units.ts'
import type { CliContext } from './context.ts'

const LINE_MS = 5000

export interface ProgressOptions {
  /** What is going on, like `checking 7.dat`. */
  readonly label: string
  readonly totalBytes: number
  /** Nothing is shown. */
  readonly isQuiet: boolean
}

/** Shows how far a long command has come, on standard error. */
export interface Progress extends Disposable {
  update(doneBytes: number): void
}

/** A bar on a terminal; otherwise a line at the start, every 5 s, and at the end. */
export function showProgress(context: CliContext, options: ProgressOptions): Progress {
  if (options.isQuiet) return { update: () => undefined, [Symbol.dispose]: () => undefined }
  return context.err.isTerminal ? showBar(context, options) : showLines(context, options)
}

function showBar(context: CliContext, options: ProgressOptions): Progress {
  const total = Math.max(options.totalBytes, 1)
  const bar = new SingleBar({
    // Only terminal streams have what the bar needs beyond a plain stream.
    stream: context.err.stream as NodeJS.WriteStream,
    format: '{label} [{bar}] {percentage}%  {done} of {total_}  {eta_formatted} left',
    clearOnComplete: true,
    hideCursor: true,
    etaBuffer: 100,
  })
  const fields = (doneBytes: number): Record<string, string> => ({
    label: options.label,
    done: formatBytes(doneBytes),
    total_: formatBytes(options.totalBytes),
  })
  bar.start(total, 0, fields(0))
  return {
    update: (doneBytes) => bar.update(Math.min(doneBytes, total), fields(doneBytes)),
    [Symbol.dispose]: () => bar.stop(),
  }
}

function showLines(context: CliContext, options: ProgressOptions): Progress {
  const { clock, err } = context
  const { label, totalBytes } = options
  let shownMs = clock.monotonicMs()
  let doneBytes = 0
  let isOver = false
  const show = (text: string): void => {
    err.stream.write(`${label}: ${text}\n`)
  }
  show(formatBytes(totalBytes))
  return {
    update: (done) => {
      doneBytes = done
      if (clock.monotonicMs() - shownMs < LINE_MS) return
      shownMs = clock.monotonicMs()
      show(`${formatBytes(done)} of ${formatBytes(totalBytes)}`)
    },
    [Symbol.dispose]: () => {
      if (isOver) return
      isOver = true
      show(doneBytes >= totalBytes ? 'done' : `stopped after ${formatBytes(doneBytes)}`)
    },
  }
}
