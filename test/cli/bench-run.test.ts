import { expect, test } from 'vitest'
import {
  type BenchTarget,
  benchMixed,
  benchReads,
  benchWrites,
  percentile,
} from '../../src/cli/bench-run.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const NEVER = new AbortController().signal

class FakeTarget implements BenchTarget {
  readonly files = new Map<string, Buffer>()
  underWay = 0
  underWayMax = 0
  /** Every so many-th write fails. */
  failEvery = Number.POSITIVE_INFINITY
  #writes = 0

  async write(data: Buffer): Promise<string> {
    this.underWayMax = Math.max(this.underWayMax, ++this.underWay)
    await Promise.resolve()
    this.underWay--
    if (++this.#writes % this.failEvery === 0) throw new Error('not this one')
    const fileId = `1,${this.files.size}`
    this.files.set(fileId, data)
    return fileId
  }

  async read(fileId: string): Promise<number> {
    const data = this.files.get(fileId)
    if (data === undefined) throw new Error(`no ${fileId}`)
    return data.length
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function makeParts(): { clock: SimClock; random: Prng; target: FakeTarget } {
  return { clock: new SimClock(), random: new Prng(1), target: new FakeTarget() }
}

const OPTIONS = { concurrency: 7, count: 100, sizeBytes: 1000, onProgress: () => undefined }

test.each([
  [[], 50, 0],
  [[7], 50, 7],
  [[7], 99, 7],
  [[1, 2], 50, 1],
  [[1, 2, 3, 4], 50, 2],
  [[1, 2, 3, 4], 90, 4],
  [[1, 2, 3, 4], 1, 1],
])('of %j the %d-th percentile is %d', (sorted, percent, expected) => {
  expect(percentile(sorted, percent)).toBe(expected)
})

test('100 writes store 100 different files, at most 7 under way', async () => {
  const parts = makeParts()
  const { result, fileIds } = await benchWrites(parts, OPTIONS, NEVER)
  expect(result).toMatchObject({ operation: 'write', count: 100, failures: 0, bytes: 100_000 })
  expect(fileIds).toHaveLength(100)
  expect(new Set([...parts.target.files.values()].map((data) => data.toString('hex'))).size).toBe(
    100,
  )
  expect(parts.target.underWayMax).toBe(7)
})

test('failures are counted, the first is told, and they are not among what is measured', async () => {
  const parts = makeParts()
  parts.target.failEvery = 10
  const { result, fileIds } = await benchWrites(parts, OPTIONS, NEVER)
  expect(result).toMatchObject({ count: 90, failures: 10, bytes: 90_000 })
  expect(result.firstFailure).toBe('Error: not this one')
  expect(fileIds).toHaveLength(90)
})

test('reads and mixed runs take files that were written; one in five of the mix is a write', async () => {
  const parts = makeParts()
  const { fileIds } = await benchWrites(parts, OPTIONS, NEVER)
  const reads = await benchReads(parts, fileIds, OPTIONS, NEVER)
  expect(reads).toMatchObject({ operation: 'read', count: 100, failures: 0, bytes: 100_000 })
  const mixed = await benchMixed(parts, fileIds, OPTIONS, NEVER)
  expect(mixed).toMatchObject({ operation: 'mixed', count: 100, failures: 0 })
  expect(parts.target.files.size).toBe(120)
})

test('an abort ends it with CANCELLED', async () => {
  const stop = new AbortController()
  const onProgress = (done: number): void => {
    if (done === 10) stop.abort()
  }
  const run = benchWrites(makeParts(), { ...OPTIONS, onProgress }, stop.signal)
  await expect(run).rejects.toMatchObject({ code: 'CANCELLED' })
})
