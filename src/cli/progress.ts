import { SingleBar } from 'cli-progress'
import { formatBytes } from '../base/units.ts'
import type { CliContext } from './context.ts'

const LINE_MS = 5000
const COUNT_MS = 200

export interface ProgressOptions {
  /** What is going on, like `checking 7.dat`. */
  readonly label: string
  readonly totalBytes: number
  /** Where files are counted too. */
  readonly totalFiles?: number
  /** Nothing is shown. */
  readonly isQuiet: boolean
}

/** Shows how far a long command has come, on standard error. */
export interface Progress extends Disposable {
  update(doneBytes: number, doneFiles?: number): void
}

/** A bar on a terminal; otherwise a line at the start, every 5 s, and at the end. */
export function showProgress(context: CliContext, options: ProgressOptions): Progress {
  if (options.isQuiet) return { update: () => undefined, [Symbol.dispose]: () => undefined }
  return context.err.isTerminal ? showBar(context, options) : showLines(context, options)
}

/** Counts what has no known end. */
export interface Count extends Disposable {
  update(doneFiles: number, doneBytes: number): void
}

/** One line that changes on a terminal; otherwise one every 5 s. */
export function showCount(context: CliContext, label: string, isQuiet: boolean): Count {
  const { clock, err } = context
  const periodMs = err.isTerminal ? COUNT_MS : LINE_MS
  const start = err.isTerminal ? '\r\u001b[K' : ''
  const end = err.isTerminal ? '' : '\n'
  const startMs = clock.monotonicMs()
  let shownMs = startMs
  let isShown = false
  return {
    update: (doneFiles, doneBytes) => {
      if (isQuiet || clock.monotonicMs() - shownMs < periodMs) return
      shownMs = clock.monotonicMs()
      const rate = describeRate(doneFiles, doneBytes, (shownMs - startMs) / 1000)
      isShown = true
      const done = `${doneFiles} files, ${formatBytes(doneBytes)}`
      err.stream.write(`${start}${label}: ${done} (${rate})${end}`)
    },
    [Symbol.dispose]: () => {
      if (isShown) err.stream.write(start)
      isShown = false
    },
  }
}

function showBar(context: CliContext, options: ProgressOptions): Progress {
  const { totalBytes, totalFiles } = options
  // What is counted decides the length of the bar: a million empty files take their time too.
  const total = Math.max(totalFiles ?? totalBytes, 1)
  const rate = rateSince(context)
  const bar = new SingleBar({
    // Only terminal streams have what the bar needs beyond a plain stream.
    stream: context.err.stream as NodeJS.WriteStream,
    format: '{label} [{bar}] {percentage}%  {done}  {eta_formatted} left',
    clearOnComplete: true,
    hideCursor: true,
    etaBuffer: 100,
  })
  const fields = (doneBytes: number, doneFiles?: number): Record<string, string> => ({
    label: options.label,
    done: `${describe(options, doneBytes, doneFiles)}${rate(doneBytes, doneFiles)}`,
  })
  bar.start(total, 0, fields(0, totalFiles === undefined ? undefined : 0))
  return {
    update: (doneBytes, doneFiles) => {
      bar.update(Math.min(doneFiles ?? doneBytes, total), fields(doneBytes, doneFiles))
    },
    [Symbol.dispose]: () => bar.stop(),
  }
}

function showLines(context: CliContext, options: ProgressOptions): Progress {
  const { clock, err } = context
  const { label, totalBytes, totalFiles } = options
  const rate = rateSince(context)
  let shownMs = clock.monotonicMs()
  let done: readonly [bytes: number, files?: number] = [0]
  let isOver = false
  const show = (text: string): void => {
    err.stream.write(`${label}: ${text}\n`)
  }
  const files = totalFiles === undefined ? '' : `${totalFiles} files, `
  show(`${files}${formatBytes(totalBytes)}`)
  return {
    update: (doneBytes, doneFiles) => {
      done = doneFiles === undefined ? [doneBytes] : [doneBytes, doneFiles]
      if (clock.monotonicMs() - shownMs < LINE_MS) return
      shownMs = clock.monotonicMs()
      show(`${describe(options, doneBytes, doneFiles)}${rate(doneBytes, doneFiles)}`)
    },
    [Symbol.dispose]: () => {
      if (isOver) return
      isOver = true
      const [doneBytes, doneFiles = 0] = done
      const isDone = totalFiles === undefined ? doneBytes >= totalBytes : doneFiles >= totalFiles
      show(isDone ? 'done' : `stopped after ${formatBytes(doneBytes)}`)
    },
  }
}

function describe(options: ProgressOptions, doneBytes: number, doneFiles?: number): string {
  const { totalBytes, totalFiles } = options
  const bytes = `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`
  return totalFiles === undefined ? bytes : `${doneFiles ?? 0} of ${totalFiles} files, ${bytes}`
}

/** Tells the mean rate since now, where files are counted. */
function rateSince({ clock }: CliContext): (doneBytes: number, doneFiles?: number) => string {
  const startMs = clock.monotonicMs()
  return (doneBytes, doneFiles) => {
    if (doneFiles === undefined) return ''
    const seconds = Math.max((clock.monotonicMs() - startMs) / 1000, 0.001)
    return ` (${describeRate(doneFiles, doneBytes, seconds)})`
  }
}

/** For people: `1200 files/s, 3.4 MB/s`. */
export function describeRate(files: number, bytes: number, seconds: number): string {
  const elapsed = Math.max(seconds, 0.001)
  return `${Math.round(files / elapsed)} files/s, ${(bytes / 1e6 / elapsed).toFixed(1)} MB/s`
}
