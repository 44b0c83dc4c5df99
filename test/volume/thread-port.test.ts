import { MessageChannel } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { type CallHandler, ThreadPort } from '../../src/volume/thread-port.ts'

function connect(handlers: Record<string, CallHandler>) {
  const { port1, port2 } = new MessageChannel()
  let messages = 0
  port2.on('message', () => messages++)
  const near = new ThreadPort(port1, {})
  const far = new ThreadPort(port2, handlers)
  return {
    near,
    far,
    get messages() {
      return messages
    },
    [Symbol.dispose]() {
      near[Symbol.dispose]()
      far[Symbol.dispose]()
    },
  }
}

async function* pieces(count: number, onEnd?: () => void): AsyncGenerator<Uint8Array> {
  try {
    for (let i = 0; i < count; i++) yield Buffer.from([i])
  } finally {
    onEnd?.()
  }
}

describe('calls between threads', () => {
  test('1,000 of one turn cross in one message, and each gets its own answer', async () => {
    using pair = connect({ double: ([value]) => Number(value) * 2 })
    const calls = Array.from({ length: 1000 }, (_, i) => pair.near.call('double', [i]))
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 1000 }, (_, i) => i * 2))
    expect(pair.messages).toBe(1)
    expect(pair.near.pendingCount).toBe(0)
  })

  test('keep the code of an error, and do not make a code of a bug', async () => {
    using pair = connect({
      refuse: () => {
        throw new StoreError('VOLUME_FULL', 'no room')
      },
      stumble: () => {
        throw new TypeError('x is not a function')
      },
    })
    const refused = pair.near.call('refuse', [])
    await expect(refused).rejects.toMatchObject({ code: 'VOLUME_FULL', message: 'no room' })
    const stumbled = await pair.near.call('stumble', []).catch((error: unknown) => error)
    expect(stumbled).not.toBeInstanceOf(StoreError)
    expect(String(stumbled)).toContain('x is not a function')
    await expect(pair.near.call('unheard', [])).rejects.toThrow('unheard')
  })

  test('are cancelled on the other side', async () => {
    using pair = connect({
      wait: (_, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new StoreError('CANCELLED', 'stopped')))
        }),
    })
    const stop = new AbortController()
    const call = pair.near.call('wait', [], stop.signal)
    stop.abort()
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  test('fail with UNAVAILABLE when the other side ends', async () => {
    using pair = connect({ never: () => new Promise(() => undefined) })
    const call = pair.near.call('never', [])
    pair.far[Symbol.dispose]()
    await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(pair.near.call('never', [])).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })
})

describe('streams between threads', () => {
  test('arrive in order, whole, and never run ahead', async () => {
    let given = 0
    let taken = 0
    let ahead = 0
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const piece of pieces(100)) {
        given++
        ahead = Math.max(ahead, given - taken)
        yield piece
      }
    }
    const seen: number[] = []
    using pair = connect({
      take: async ([ref]) => {
        for await (const piece of pair.far.borrow(ref as { stream: number })) {
          taken++
          seen.push(piece[0] ?? -1)
        }
      },
    })
    await pair.near.call('take', [pair.near.lend(counted())])
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(ahead).toBeLessThanOrEqual(1)
  })

  test('end at their source when the reader stops after 3 of 100', async () => {
    let isEnded: () => void = () => undefined
    const ended = new Promise<void>((resolve) => {
      isEnded = resolve
    })
    using pair = connect({
      take: async ([ref]) => {
        let count = 0
        for await (const _ of pair.far.borrow(ref as { stream: number })) if (++count === 3) break
      },
    })
    await pair.near.call('take', [pair.near.lend(pieces(100, isEnded))])
    await ended
  })

  test('pass on how they failed', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a')
      throw new StoreError('NEEDLE_CORRUPT', 'rot')
    }
    using pair = connect({
      take: async ([ref]) => {
        for await (const _ of pair.far.borrow(ref as { stream: number }));
      },
    })
    const taken = pair.near.call('take', [pair.near.lend(broken())])
    await expect(taken).rejects.toMatchObject({ code: 'NEEDLE_CORRUPT' })
  })

  test('that nobody begins to read are given back to their owner', async () => {
    let isDisposed = false
    using pair = connect({
      decline: ([ref]) => pair.far.decline(ref as { stream: number }),
    })
    const owner = {
      [Symbol.asyncDispose]: async () => {
        isDisposed = true
      },
    }
    await pair.near.call('decline', [pair.near.lend(pieces(3), owner)])
    // What was said in that turn arrives in the next.
    await pair.near.call('decline', [{ stream: 0 }])
    expect(isDisposed).toBe(true)
  })
})
