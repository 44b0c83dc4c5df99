import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/base/units.ts'
import type { VacuumProgress } from '../../src/net/volume-api.ts'
import { runVacuum } from '../../src/volume/vacuum-command.ts'
import { SimClock } from '../support/sim-clock.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { LocalCluster, LocalNode, vacuumCommand } from './local-node.ts'

/** Sleeps take no time, and are counted. */
class RestClock extends SimClock {
  readonly restsMs: number[] = []

  override async sleep(ms: number): Promise<void> {
    this.restsMs.push(ms)
  }
}

describe('runVacuum', () => {
  test.each([0, 1, 4])('with politeness %d it rests that much longer than it works', async (k) => {
    const cluster = new LocalCluster()
    await using node = await LocalNode.open(cluster, 1)
    await node.allocate(3)
    for (let needle = 1; needle <= 20; needle++) await node.put(3, needle, 'x'.repeat(MIB))
    let workMs = 0
    node.hooks.before = async ({ kind }) => {
      if (kind !== 'read') return
      workMs += 10
      await cluster.clock.advance(10)
    }
    const clock = new RestClock()
    const reports: VacuumProgress[] = []
    const { store } = node.opened
    const command = { ...vacuumCommand(3), politeness: k }
    await runVacuum({ store, clock }, command, (report) => reports.push(report), SIGNAL)
    node.hooks.before = undefined
    expect(reports.at(-1)?.phase).toBe('done')
    expect(workMs).toBeGreaterThanOrEqual(100)
    const restedMs = clock.restsMs.reduce((sum, ms) => sum + ms, 0)
    // The last window of each part is not rested after: writers wait for it.
    expect(restedMs).toBeGreaterThanOrEqual((workMs - 40) * k)
    expect(restedMs).toBeLessThanOrEqual(workMs * k)
    for (const ms of clock.restsMs) expect(ms).toBeLessThanOrEqual(100 * k)
  })
})
