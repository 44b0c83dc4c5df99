import { expect, test } from 'vitest'
import { seeds } from '../support/prng.ts'
import { VolumeModel } from '../support/volume-model.ts'

// Goal: a put that was answered with an error is gone for good: a delete that then found nothing
// there was told the truth, also after a power cut.
// Method: the write fails, having written part or all; delete; cut; reopen.
// One seed in 200 leaves just the bytes that would come back. Replay: SEED=17 npm test.
test.each(seeds(1000))(
  'a failed put does not come back after a power cut (seed %d)',
  async (seed) => {
    const model = new VolumeModel(seed)
    await model.create()
    model.mayFail = true
    model.disk.failCall(1, 'EIO', ['writev'])
    await model.put(1, Buffer.from('x'))
    model.mayFail = false
    expect(model.disk.armedFaults).toBe(0)
    await model.delete(1)
    model.disk.restart()
    await model.reopenAfterCrash()
    await model.check()
    await model.close()
  },
)
