import { describe, expect, test } from 'vitest'
import { IS_MODEL_LANE, seeds } from '../support/prng.ts'
import { Scenario } from './model-scenario.ts'

const COPIES = {
  urls: ['a', 'b', 'c', 'd', 'e'],
  kinds: ['replica-repair', 'replica-repair', 'move', 'vacuum', 'scrub'],
  faultChance: 0.04,
  lossChance: 0,
} as const

const SHARDS = {
  urls: ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
  kinds: ['ec-encode', 'ec-encode', 'replica-repair', 'ec-repair', 'move'],
  faultChance: 0.01,
  lossChance: 0.005,
} as const

/** `npm run model:all` takes more. */
const SEEDS = IS_MODEL_LANE ? 10_000 : 600

async function expectKept(scenario: Scenario): Promise<void> {
  const { clients, cluster, volume } = scenario
  const error = await scenario.repair()
  expect(scenario.violations).toEqual([])
  expect([cluster.fault(volume), error]).toEqual([undefined, undefined])
  expect(clients.broken()).toBeUndefined()
}

// Goal: whatever happens to servers and workers while jobs run, no acked needle is lost, none that
// was deleted comes back, no step of a job leaves fewer good copies than it found, and in the end
// the volume is as it shall be.
// Method: random writes, faults and deaths of workers at every call of random jobs; then calm, and
// repairs as a scheduler would queue them. Replay: SEED=17 npx vitest run test/jobs/model.test.ts
describe('jobs on a model of a cluster', () => {
  test.each(seeds(SEEDS))('keep every promise (seed %d)', async (seed) => {
    const scenario = new Scenario(seed, COPIES)
    const { clients, prng } = scenario
    for (let count = prng.between(0, 30); count > 0; count--) clients.act()
    for (let count = prng.between(1, 4); count > 0; count--) {
      for (let strikes = prng.below(4); strikes > 0; strikes--) scenario.faults.strike()
      const { kind, target } = scenario.pickJob()
      await scenario.runWithKills(kind, target)
    }
    await expectKept(scenario)
  })
})

// The same for shards. A volume is coded from the start, or by the first job; repairs in between
// make it whole, or most jobs would have nothing to begin with.
describe('jobs on a model of a cluster, of a volume with shards', () => {
  test.each(seeds(SEEDS))('keep every promise (seed %d)', async (seed) => {
    const scenario = new Scenario(seed, SHARDS)
    const { clients, prng, volume } = scenario
    for (let count = prng.between(5, 40); count > 0; count--) clients.act()
    if (prng.chance(0.5)) scenario.code()
    for (let count = prng.between(1, 5); count > 0 && !volume.isDeleted; count--) {
      if (prng.chance(0.7)) await scenario.mend()
      for (let strikes = prng.below(2); strikes > 0; strikes--) scenario.faults.strike()
      const { kind, target } = scenario.pickJob()
      await scenario.runWithKills(kind, target)
    }
    await expectKept(scenario)
  })
})
