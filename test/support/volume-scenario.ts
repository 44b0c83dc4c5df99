import { VolumeModel } from './volume-model.ts'

const STEPS_MAX = 30

/**
 * One seeded life of a volume: writes alone and in crowds, vacuums, seals, checkpoints, restarts,
 * power cuts at any call, kills, failing calls and a full disk. Throws on the first answer that the
 * model does not allow.
 */
export async function runVolumeScenario(seed: number): Promise<void> {
  const model = new VolumeModel(seed)
  const { prng } = model
  await model.create()
  const steps = prng.between(5, STEPS_MAX)
  for (let step = 0; step < steps; step++) await runStep(model)
  await model.check()
  await model.close()
  if (model.disk.openFiles !== 0) throw new Error(`${model.disk.openFiles} files left open`)
  await model.open()
  await model.check()
  await model.close()
}

const STEPS: readonly (readonly [weight: number, run: (model: VolumeModel) => Promise<void>])[] = [
  [30, putOne],
  [12, deleteOne],
  [6, healOne],
  [3, (model) => model.scrub()],
  [20, crowd],
  [6, (model) => model.check()],
  [5, vacuum],
  [4, vacuumUnderLoad],
  [3, (model) => model.volume?.checkpoint() ?? Promise.resolve()],
  [4, reopen],
  [8, powerCut],
  [4, kill],
  [5, failingCall],
  [2, fullDisk],
  [1, seal],
]

async function runStep(model: VolumeModel): Promise<void> {
  const total = STEPS.reduce((sum, [weight]) => sum + weight, 0)
  let at = model.prng.below(total)
  for (const [weight, run] of STEPS) {
    at -= weight
    if (at < 0) return run(model)
  }
}

async function putOne(model: VolumeModel): Promise<void> {
  const id = model.pickId()
  if (id !== undefined) await model.put(id)
}

async function deleteOne(model: VolumeModel): Promise<void> {
  const id = model.pickId()
  if (id !== undefined) await model.delete(id)
}

async function healOne(model: VolumeModel): Promise<void> {
  const id = model.pickId()
  if (id !== undefined) await model.heal(id)
}

/** Several writes at once: they share batches. */
async function crowd(model: VolumeModel): Promise<void> {
  const writes: Promise<void>[] = []
  for (let count = model.prng.between(2, 6); count > 0; count--) {
    const id = model.pickId()
    if (id === undefined) break
    const kind = model.prng.below(8)
    if (kind === 0) writes.push(model.heal(id))
    else writes.push(kind <= 5 ? model.put(id) : model.delete(id))
  }
  await allSettled(writes)
}

async function vacuum(model: VolumeModel): Promise<void> {
  const { volume } = model
  if (volume === undefined || volume.state === 'failed') return
  const tombstones = model.prng.chance(0.5) ? 'keep' : 'drop'
  const options = { tombstones, skipsDamage: model.prng.chance(0.4) } as const
  const running = volume.vacuum(options, new AbortController().signal)
  await model.tolerate(running)
}

async function vacuumUnderLoad(model: VolumeModel): Promise<void> {
  const crowds = async (): Promise<void> => {
    for (let count = model.prng.between(1, 5); count > 0; count--) await crowd(model)
  }
  await allSettled([vacuum(model), crowds()])
  await model.check()
}

async function reopen(model: VolumeModel): Promise<void> {
  await model.close()
  await model.open()
  await model.check()
}

async function powerCut(model: VolumeModel): Promise<void> {
  model.mayFail = true
  model.disk.cutPowerAfter(model.prng.between(1, 25))
  for (let count = 0; count < 12 && !model.disk.isPowerOff; count++) await busyStep(model)
  await settle()
  model.disk.restart()
  model.mayFail = false
  await model.reopenAfterCrash()
}

/** Writes may be under way: written, not synced, and there for the next process to find. */
async function kill(model: VolumeModel): Promise<void> {
  model.mayFail = true
  const writes = crowd(model)
  for (let turn = model.prng.below(3); turn > 0; turn--) await nextTurn()
  model.kill()
  await model.tolerate(writes)
  await settle()
  model.mayFail = false
  await model.reopenAfterCrash()
}

/** One call fails; what was acknowledged must be there, at once and after a power cut. */
async function failingCall(model: VolumeModel): Promise<void> {
  const { prng, disk } = model
  model.mayFail = true
  disk.failCall(prng.between(1, 10), prng.chance(0.5) ? 'EIO' : 'ENOSPC')
  for (let count = prng.between(1, 4); count > 0; count--) await busyStep(model)
  await model.check()
  await settle()
  if (prng.chance(0.5)) model.kill()
  else disk.cutPowerAfter(1)
  if (!disk.isPowerOff) await model.tolerate(disk.syncDirectory('/v'))
  await settle()
  disk.restart()
  model.mayFail = false
  await model.reopenAfterCrash()
  if (model.volume?.state === 'failed') await healByVacuum(model)
}

/** A volume whose sync failed is read-only until a vacuum has moved it to new files. */
async function healByVacuum(model: VolumeModel): Promise<void> {
  await model.volume?.vacuum({}, new AbortController().signal)
  if (model.volume?.state !== 'writable' && model.volume?.state !== 'sealed') {
    throw new Error(`the volume is ${model.volume?.state} after the vacuum`)
  }
  await model.check()
}

/** Puts fail, reads go on; with space everything works again. */
async function fullDisk(model: VolumeModel): Promise<void> {
  const { disk, prng } = model
  const before = disk.capacityBytes
  model.mayFail = true
  const { totalBytes, freeBytes } = await disk.space('/v')
  disk.capacityBytes = totalBytes - freeBytes + prng.between(0, 3000)
  for (let count = prng.between(1, 5); count > 0; count--) await crowd(model)
  await model.check()
  disk.capacityBytes = before
  model.mayFail = false
  await putOne(model)
  await model.check()
}

async function seal(model: VolumeModel): Promise<void> {
  if (model.volume?.state === 'writable') await model.volume.seal()
}

async function busyStep(model: VolumeModel): Promise<void> {
  const run = model.prng.pick([putOne, deleteOne, crowd, crowd, vacuum, checkpoint])
  await run(model)
}

async function checkpoint(model: VolumeModel): Promise<void> {
  if (model.volume !== undefined) await model.tolerate(model.volume.checkpoint())
}

/** Waits for all, then throws the first failure. */
async function allSettled(running: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(running)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Lets the calls under way end: a process cannot outlive the power. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await nextTurn()
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
