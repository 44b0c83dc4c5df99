import { MessageChannel } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import {
  algorithmsOf,
  type BodyPromise,
  RunningSums,
} from '../../../../src/gateway/s3/body/body-checks.ts'
import { serveHashes } from '../../../../src/gateway/s3/body/hash-service.ts'
import { type HashThread, HashThreads } from '../../../../src/gateway/s3/body/hash-threads.ts'
import type { ChecksumAlgorithm } from '../../../../src/gateway/s3/bucket-settings.ts'
import { silentLogger } from '../../../../src/runtime/logger.ts'
import { Prng } from '../../../support/prng.ts'

const BATCH_BYTES = 256 * 1024

/** A thread's work done in this one, behind a port as it would be. */
class ServedThread {
  readonly thread: HashThread
  readonly kinds: string[] = []
  #onExit: (() => void) | undefined

  constructor(isServing = true) {
    const { port1, port2 } = new MessageChannel()
    if (isServing) serveHashes(port2)
    this.thread = {
      postMessage: (call, transfer) => {
        this.kinds.push(call.kind)
        port1.postMessage(call, [...transfer])
      },
      on: (event: string, listener: (...args: never[]) => void) => {
        if (event === 'exit') this.#onExit = listener as () => void
        else port1.on(event, listener as () => void)
      },
      terminate: async () => this.end(),
    }
    this.end = () => {
      port1.close()
      this.#onExit?.()
    }
  }

  readonly end: () => void
}

function promiseOf(algorithm: ChecksumAlgorithm, isSigned = false): BodyPromise {
  const mode = isSigned
    ? ({ kind: 'signed', sha256: '0'.repeat(64) } as const)
    : ({ kind: 'unsigned' } as const)
  return { mode, plan: { algorithm, claim: undefined, contentMd5: undefined } }
}

function threadsWith(count: number, isServing = true) {
  const started: ServedThread[] = []
  const startThread = () => {
    const served = new ServedThread(isServing)
    started.push(served)
    return served.thread
  }
  const threads = new HashThreads({ logger: silentLogger, startThread }, { count })
  return { started, threads }
}

describe('sums of another thread', () => {
  test.each<[ChecksumAlgorithm, boolean]>([
    ['CRC64NVME', false],
    ['CRC32', false],
    ['CRC32C', true],
    ['SHA1', false],
    ['SHA256', true],
  ])('are those of this one: %s, signed %s', async (algorithm, isSigned) => {
    await using threads = threadsWith(1).threads
    const random = new Prng(7)
    const promise = promiseOf(algorithm, isSigned)
    for (const lengths of [[], [1], [BATCH_BYTES], [BATCH_BYTES + 1], [65_536, 3, 1_000_000]]) {
      using here = new RunningSums(algorithmsOf(promise))
      using there = threads.sums(promise)
      for (const length of lengths) {
        const bytes = random.bytes(length)
        here.update(bytes)
        await there.update(bytes)
        bytes.fill(0) // Whoever gave them may use them again at once.
      }
      expect(there.sizeBytes).toBe(here.sizeBytes)
      expect(await there.digest()).toEqual(here.digest())
    }
  })

  test('of bodies that come at the same time do not mix', async () => {
    const { started, threads } = threadsWith(2)
    await using _threads = threads
    const promise = promiseOf('CRC32')
    const bodies = Array.from({ length: 8 }, (_, index) => new Prng(index + 1).bytes(700_000))
    const found = await Promise.all(
      bodies.map(async (body) => {
        using sums = threads.sums(promise)
        for (let at = 0; at < body.length; at += 50_000) {
          await sums.update(body.subarray(at, at + 50_000))
        }
        return await sums.digest()
      }),
    )
    for (const [index, body] of bodies.entries()) {
      using here = new RunningSums(algorithmsOf(promise))
      here.update(body)
      expect(found[index]).toEqual(here.digest())
    }
    expect(started).toHaveLength(2)
  })

  test('wait for the thread when three batches are on their way', async () => {
    await using threads = threadsWith(1, false).threads
    using sums = threads.sums(promiseOf('CRC32'))
    expect(sums.update(Buffer.alloc(3 * BATCH_BYTES - 1))).toBeUndefined()
    const waiting = sums.update(Buffer.alloc(1))
    expect(waiting).toBeInstanceOf(Promise)
    let isSettled = false
    waiting
      ?.finally(() => {
        isSettled = true
      })
      .catch(() => undefined)
    await new Promise((resolve) => setImmediate(resolve))
    expect(isSettled).toBe(false)
  })

  test('fail with the thread, and the next body has another one', async () => {
    const { started, threads } = threadsWith(1)
    await using _threads = threads
    const promise = promiseOf('CRC32')
    using lost = threads.sums(promise)
    using waiting = threads.sums(promise)
    const digest = waiting.digest()
    started[0]?.end()
    await expect(digest).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(() => lost.update(Buffer.from('x'))).toThrow('has ended')
    await expect(lost.digest()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    using next = threads.sums(promise)
    using here = new RunningSums(algorithmsOf(promise))
    expect(await next.digest()).toEqual(here.digest())
    expect(started).toHaveLength(2)
  })

  test('are given up when a body ends early', async () => {
    const { started, threads } = threadsWith(1)
    await using _threads = threads
    {
      using sums = threads.sums(promiseOf('CRC32'))
      await sums.update(Buffer.alloc(BATCH_BYTES))
    }
    expect(started[0]?.kinds).toEqual(['start', 'update', 'drop'])
  })

  test('of a closed pool are refused', async () => {
    const { threads } = threadsWith(1)
    await threads[Symbol.asyncDispose]()
    expect(() => threads.sums(promiseOf('CRC32'))).toThrow('were ended')
  })
})
