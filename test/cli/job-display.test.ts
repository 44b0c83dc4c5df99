import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { TextOutput } from '../../src/cli/context.ts'
import { openJobDisplay } from '../../src/cli/job-display.ts'
import { makeJob } from '../support/job-views.ts'
import { SimClock } from '../support/sim-clock.ts'

function collect(isTerminal: boolean) {
  const stream = Object.assign(new PassThrough(), { isTTY: isTerminal, columns: 120, rows: 40 })
  const pieces: Buffer[] = []
  stream.on('data', (piece: Buffer) => pieces.push(piece))
  const out = new TextOutput(stream, isTerminal)
  return { out, text: () => Buffer.concat(pieces).toString() }
}

const COPYING = { phase: 'copied', done: 512, total: 1024, unit: 'bytes' } as const
const RUNNING = makeJob({ state: 'running', worker: 'w1', progress: COPYING })
const DONE = makeJob({ state: 'done', endedAtMs: 5, summary: '1 copy made' })
const LINE = 'job 1 replica-repair volume 7: running on w1: copied, 512 B of 1 KiB\n'

describe('jobs that change', () => {
  test('are lines in a pipe: one for each state and phase, and every 5 s', async () => {
    const { out, text } = collect(false)
    const clock = new SimClock()
    {
      using display = openJobDisplay({ out, clock }, false)
      display.show(makeJob())
      display.show(RUNNING)
      display.show(RUNNING)
      await clock.advance(4999)
      display.show(RUNNING)
      await clock.advance(1)
      display.show(RUNNING)
      display.show(makeJob({ id: 2 }))
      display.show(DONE)
    }
    expect(text()).toBe(
      `job 1 replica-repair volume 7: waiting\n${LINE}${LINE}` +
        'job 2 replica-repair volume 7: waiting\n' +
        'job 1 replica-repair volume 7: done: 1 copy made\n',
    )
  })

  test('are documents for programs', () => {
    const { out, text } = collect(false)
    using display = openJobDisplay({ out, clock: new SimClock() }, true)
    display.show(RUNNING)
    expect(JSON.parse(text())).toEqual(RUNNING)
  })

  test('are bars on a terminal, and the lines of those that end stay', () => {
    const { out, text } = collect(true)
    {
      using display = openJobDisplay({ out, clock: new SimClock() }, false)
      for (let id = 2; id < 40; id++) display.show({ ...RUNNING, id })
      display.show(makeJob())
      display.show(RUNNING)
      display.show({ ...RUNNING, id: 2, state: 'paused' })
      display.show(RUNNING)
      display.show(DONE)
    }
    expect(text()).toContain('50%  job 3 replica-repair volume 7 on w1: copied, 512 B of 1 KiB')
    expect(text()).toContain('38 running, 1 waiting or paused')
    expect(text()).toContain('job 1 replica-repair volume 7: done: 1 copy made\n')
    // Twenty fit; the others are counted.
    expect(text()).not.toContain('job 39 ')
    // The cursor is back.
    expect(text()).toContain('\u001b[?25h')
  })
})
