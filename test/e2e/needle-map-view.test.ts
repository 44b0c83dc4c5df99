import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { HashNeedleMap } from '../../src/storage/hash-needle-map.ts'

const COUNT = 400_000
const TURN = 500

interface Result {
  readonly lookups: number
  readonly stale: number
  readonly wrong: number
  readonly highest: number
}

// Goal: a reader in another thread finds every needle that was put before it looked, and none that
// was not, while the map grows from empty through some twenty tables.
// Method: one thread puts ids in order and says how far it is; the other looks up ids up to there.
test('a reader in another thread misses nothing while the map grows to 400 000', async () => {
  const map = new HashNeedleMap({ version: 3 })
  const progress = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(new URL('../support/needle-map-reader.mjs', import.meta.url))
  const over = new Promise<Result>((resolve, reject) => {
    worker.on('error', reject)
    worker.on('message', (message: { readonly isStale?: true; readonly result?: Result }) => {
      if (message.isStale) worker.postMessage({ state: map.sharedState() })
      if (message.result !== undefined) resolve(message.result)
    })
  })
  worker.postMessage({ progress: progress.buffer, state: map.sharedState() })
  for (let lo = 1; lo <= COUNT; lo++) {
    map.put({ hi: 5, lo }, lo * 8, lo)
    Atomics.store(progress, 0, lo)
    if (lo % TURN === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  worker.postMessage({ isOver: true })
  const result = await over
  await worker.terminate()
  expect(result.wrong).toBe(0)
  expect(result.stale).toBeGreaterThan(0)
  expect(result.lookups).toBeGreaterThan(1000)
  expect(result.highest).toBeGreaterThan(COUNT / 2)
})
