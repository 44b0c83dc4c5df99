import { test } from 'vitest'
import { runVolumeScenario } from '../support/volume-scenario.ts'

// Goal and method as in test/storage/volume-model.test.ts, over many more seeds than that runs.
// A failure names its seed. Replay:
// SEED=17 npx vitest run --project unit test/storage/volume-model.test.ts
const SEEDS = 5000
const SEEDS_PER_TEST = 250
const FIRST_SEEDS = Array.from({ length: SEEDS / SEEDS_PER_TEST }, (_, n) => n * SEEDS_PER_TEST + 1)

test.each(FIRST_SEEDS)(`${SEEDS_PER_TEST} lives of a volume from seed %d`, async (first) => {
  for (let seed = first; seed < first + SEEDS_PER_TEST; seed++) {
    try {
      await runVolumeScenario(seed)
    } catch (error) {
      throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      })
    }
  }
})
