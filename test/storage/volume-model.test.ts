import { test } from 'vitest'
import { IS_MODEL_LANE, seeds } from '../support/prng.ts'
import { runVolumeScenario } from '../support/volume-scenario.ts'

// Goal: whatever happens to the disk or the process, an acknowledged write is there, a deleted
// needle stays gone, and no answer is wrong.
// Method: a seeded life of a volume beside a map (test/support/volume-scenario.ts); `model:all`
// runs thousands. Replay: SEED=17 npx vitest run --project unit test/storage/volume-model.test.ts
const SEEDS = seeds(IS_MODEL_LANE ? 20_000 : 500)

test.each(SEEDS)('a volume answers like a map through every fault (seed %d)', async (seed) => {
  await runVolumeScenario(seed)
})
