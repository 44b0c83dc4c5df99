import { describe, expect, test } from 'vitest'
import { BufferPool } from '../../src/client/buffer-pool.ts'
import { type Chunk, chunksOfStream } from '../../src/client/chunker.ts'
import { Semaphore } from '../../src/runtime/semaphore.ts'
import { yieldTurn } from '../../src/runtime/yield-turn.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const MIB = 1024 * 1024
const CHUNK = 4 * MIB
const SIGNAL = new AbortController().signal

/** A source that gives a piece when it is told to. */
class Trickle implements AsyncIterable<Uint8Array> {
  #pieces: Uint8Array[] = []
  #isEnded = false
  #wake: () => void = () => undefined

  give(...pieces: Uint8Array[]): void {
    this.#pieces.push(...pieces)
    this.#wake()
  }

  end(): void {
    this.#isEnded = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const piece = this.#pieces.shift()
      if (piece !== undefined) yield piece
      else if (this.#isEnded) return
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }
}

/** Takes chunks as a store does: each is given back once it was looked at. */
function collected(
  source: AsyncIterable<Uint8Array>,
  pool: BufferPool,
  mayCutEarly: boolean,
): { readonly bytes: Buffer[]; readonly done: Promise<void> } {
  const bytes: Buffer[] = []
  const take = (chunk: Chunk) => {
    bytes.push(Buffer.from(chunk.bytes))
    chunk.release(true)
  }
  const run = async () => {
    for await (const chunk of chunksOfStream(source, pool, SIGNAL, { mayCutEarly })) take(chunk)
  }
  return { bytes, done: run() }
}

function poolOf(slotCount: number) {
  const clock = new SimClock()
  const slots = new Semaphore({ slots: slotCount, waitersMax: 100 })
  return { clock, slots, pool: new BufferPool({ clock, slots }, CHUNK) }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await yieldTurn()
}

describe('a stream in chunks', () => {
  test.each([0, 1, 65_536, 65_537, MIB, MIB + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])(
    'of %d bytes is cut at every 4 MiB, and holds nothing at its end',
    async (sizeBytes) => {
      const { pool, slots } = poolOf(2)
      const data = new Prng(sizeBytes + 1).bytes(sizeBytes)
      const source = new Trickle()
      for (let at = 0; at < sizeBytes; at += 100_000) source.give(data.subarray(at, at + 100_000))
      source.end()
      const { bytes, done } = collected(source, pool, true)
      await done
      expect(Buffer.concat(bytes).equals(data)).toBe(true)
      const whole = Math.floor(sizeBytes / CHUNK)
      const rest = sizeBytes % CHUNK
      const sizes = [...new Array(whole).fill(CHUNK), ...(rest > 0 ? [rest] : [])]
      expect(bytes.map(({ length }) => length)).toEqual(sizes)
      expect(slots.heldCount).toBe(0)
    },
  )

  test('that is slow gives its buffer to those who wait after 2 s, and goes on', async () => {
    const { clock, pool, slots } = poolOf(1)
    const data = new Prng(1).bytes(3 * MIB)
    const [slow, other] = [new Trickle(), new Trickle()]
    const first = collected(slow, pool, true)
    slow.give(data.subarray(0, 2 * MIB))
    await settle()
    expect(slots.heldCount).toBe(1)
    other.give(data.subarray(0, 2 * MIB))
    other.end()
    const second = collected(other, pool, true)
    await settle()
    expect([slots.waitingCount, second.bytes.length]).toEqual([1, 0])
    await clock.advance(1999)
    slow.give(data.subarray(2 * MIB, 2 * MIB + 10))
    await settle()
    expect([slots.waitingCount, second.bytes.length]).toEqual([1, 0])
    await clock.advance(1)
    slow.give(data.subarray(2 * MIB + 10, 2 * MIB + 20))
    await second.done
    expect(Buffer.concat(second.bytes).equals(data.subarray(0, 2 * MIB))).toBe(true)
    slow.give(data.subarray(2 * MIB + 20))
    slow.end()
    await first.done
    expect(first.bytes.map(({ length }) => length)).toEqual([2 * MIB + 20, MIB - 20])
    expect(Buffer.concat(first.bytes).equals(data)).toBe(true)
    expect(slots.heldCount).toBe(0)
  })

  test.each([
    ['nobody waits', true, false],
    ['its chunks must be equal', false, true],
  ])('that is slow keeps its buffer while %s', async (_, mayCutEarly, isContended) => {
    const { clock, pool } = poolOf(1)
    const data = new Prng(2).bytes(CHUNK)
    const slow = new Trickle()
    const first = collected(slow, pool, mayCutEarly)
    slow.give(data.subarray(0, 2 * MIB))
    await settle()
    const other = new Trickle()
    if (isContended) other.give(data.subarray(0, 2 * MIB))
    other.end()
    const second = collected(other, pool, mayCutEarly)
    await clock.advance(60_000)
    slow.give(data.subarray(2 * MIB))
    slow.end()
    await Promise.all([first.done, second.done])
    expect(first.bytes.map(({ length }) => length)).toEqual([CHUNK])
  })
})
