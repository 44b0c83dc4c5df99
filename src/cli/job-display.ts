import { MultiBar, type SingleBar } from 'cli-progress'
import type { JobView } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { TextOutput } from './context.ts'
import { hasEnded } from './job-follow.ts'
import { describeProgress, describeTarget, jobDocument, jobLine } from './job-report.ts'

/** Shows jobs while they change. */
export interface JobDisplay extends Disposable {
  show(job: JobView): void
}

const LINE_MS = 5000
/** What fits a terminal; others are counted. */
const BARS_MAX = 20

/** Bars on a terminal; otherwise a line for each change of state or phase, and every 5 s. */
export function openJobDisplay(
  { out, clock }: { readonly out: TextOutput; readonly clock: Clock },
  isJson: boolean,
): JobDisplay {
  if (isJson) return showJson(out)
  return out.isTerminal ? showBars(out) : showLines(out, clock)
}

function showJson(out: TextOutput): JobDisplay {
  return {
    show: (job) => {
      out.stream.write(`${jobDocument(job)}\n`)
    },
    [Symbol.dispose]: () => undefined,
  }
}

function showLines(out: TextOutput, clock: Clock): JobDisplay {
  const shown = new Map<number, { readonly about: string; readonly atMs: number }>()
  return {
    show: (job) => {
      const { id, state, progress, error } = job
      const about = `${state} ${progress.phase} ${error}`
      const before = shown.get(id)
      const nowMs = clock.monotonicMs()
      if (before?.about === about && nowMs - before.atMs < LINE_MS) return
      // A job that has ended does not change any more.
      if (hasEnded(job)) shown.delete(id)
      else shown.set(id, { about, atMs: nowMs })
      out.stream.write(`${jobLine(job)}\n`)
    },
    [Symbol.dispose]: () => undefined,
  }
}

/** A bar for each job that runs, a line above them for each that ends, a count of the others. */
function showBars(out: TextOutput): JobDisplay {
  const bars = new MultiBar({
    // Only terminal streams have what bars need beyond a plain stream.
    stream: out.stream as NodeJS.WriteStream,
    format: '[{bar}] {percentage}%  {text}',
    barsize: 20,
    clearOnComplete: true,
    hideCursor: true,
    // Signals are the command's own affair.
    gracefulExit: false,
  })
  const shown = new Map<number, SingleBar>()
  const running = new Set<number>()
  const waiting = new Set<number>()
  const counts = (): string => `${running.size} running, ${waiting.size} waiting or paused`
  const header = bars.create(1, 0, { text: counts() }, { format: '{text}' })
  return {
    show: (job) => {
      count(job, running, waiting)
      if (hasEnded(job)) bars.log(`${jobLine(job)}\n`)
      const bar = shown.get(job.id)
      if (job.state === 'running') {
        if (bar !== undefined) moveBar(bar, job)
        else if (shown.size < BARS_MAX) shown.set(job.id, moveBar(bars.create(1, 0), job))
      } else if (bar !== undefined) {
        shown.delete(job.id)
        bars.remove(bar)
      }
      header.update(0, { text: counts() })
    },
    [Symbol.dispose]: () => {
      // Writes the lines that still wait.
      bars.update()
      bars.stop()
    },
  }
}

function count(job: JobView, running: Set<number>, waiting: Set<number>): void {
  running.delete(job.id)
  waiting.delete(job.id)
  if (job.state === 'running') running.add(job.id)
  else if (!hasEnded(job)) waiting.add(job.id)
}

function moveBar(bar: SingleBar, { id, kind, target, progress, worker }: JobView): SingleBar {
  const { total, done } = progress
  const what = `job ${id} ${kind} ${describeTarget(kind, target)}`.trimEnd()
  bar.setTotal(Math.max(total, 1))
  // Of what has no known end the bar stays empty.
  bar.update(Math.min(done, total), { text: `${what} on ${worker}: ${describeProgress(progress)}` })
  return bar
}
