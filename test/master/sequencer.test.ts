import { describe, expect, test } from 'vitest'
import { needleIdFromBigInt, needleIdToBigInt } from '../../src/base/ids.ts'
import { Sequencer } from '../../src/master/sequencer.ts'
import type { NumberBlock } from '../../src/metadata/coordinator.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { yieldTurn } from '../../src/runtime/yield-turn.ts'
import { Prng, seeds } from '../support/prng.ts'
import { NO_SIGNAL } from '../support/test-master.ts'

const BLOCK = 10_000

/** What is durable: the end of the last block. Dies with the process that uses it. */
class Blocks {
  end = 1n
  allocations = 0
  isDead = false
  /** Dies right before, or right after, the end of this block is durable. */
  dieAt: { readonly allocation: number; readonly isPersisted: boolean } | undefined

  async allocateBlock(_name: string, count: number, atLeast: bigint): Promise<NumberBlock> {
    await yieldTurn()
    const isLast = this.dieAt?.allocation === ++this.allocations
    if (this.isDead || (isLast && this.dieAt?.isPersisted === false)) return this.#die()
    const first = atLeast > this.end ? atLeast : this.end
    this.end = first + BigInt(count)
    await yieldTurn()
    return isLast ? this.#die() : { first, end: this.end }
  }

  #die(): Promise<never> {
    this.isDead = true
    return new Promise(() => undefined)
  }
}

function sequencerOn(blocks: Blocks): Sequencer {
  const parts = { blocks, logger: silentLogger, closing: NO_SIGNAL }
  return new Sequencer(parts, { blockCount: BLOCK })
}

describe('the sequencer', () => {
  // Goal: no needle id is ever given out twice. Method: 200 processes one after the other on the
  // same durable end, each killed at a random block before or after it is durable, with leases of
  // random size taken by concurrent callers; every id given out is below all later ones.
  test.each(seeds(5))('gives no id twice over 200 restarts (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    let end = 1n
    let highest = 0n
    for (let process = 0; process < 200; process++) {
      const blocks = new Blocks()
      blocks.end = end
      blocks.dieAt = { allocation: prng.between(1, 4), isPersisted: prng.chance(0.5) }
      const sequencer = sequencerOn(blocks)
      const given: { readonly first: bigint; readonly count: number }[] = []
      const take = async () => {
        for (let lease = 0; lease < 10 && !blocks.isDead; lease++) {
          const count = prng.chance(0.1) ? BLOCK : prng.between(1, 3000)
          const first = needleIdToBigInt(await sequencer.take(count, NO_SIGNAL))
          given.push({ first, count })
        }
      }
      const died = (async () => {
        while (!blocks.isDead && blocks.allocations < 30) await yieldTurn()
      })()
      await Promise.race([Promise.all([take(), take(), take()]), died])
      given.sort((a, b) => (a.first < b.first ? -1 : 1))
      for (const { first, count } of given) {
        expect(first).toBeGreaterThan(highest)
        highest = first + BigInt(count) - 1n
      }
      end = blocks.end
      expect(end).toBeGreaterThan(highest)
    }
  })

  test('fetches the next block before the present one is used up', async () => {
    const blocks = new Blocks()
    const sequencer = sequencerOn(blocks)
    await sequencer.take(1, NO_SIGNAL)
    expect(blocks.allocations).toBe(1)
    await sequencer.take(BLOCK / 2, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await yieldTurn()
    expect(blocks.allocations).toBe(2)
    await sequencer.take(BLOCK, NO_SIGNAL)
    expect(needleIdToBigInt(await sequencer.take(1, NO_SIGNAL))).toBeGreaterThan(BigInt(BLOCK))
  })

  test('goes on above the highest id that is reported, before and after the first block', async () => {
    const early = sequencerOn(new Blocks())
    early.noteReported(needleIdFromBigInt(1_000_000n))
    expect(needleIdToBigInt(await early.take(5, NO_SIGNAL))).toBe(1_000_001n)

    const late = sequencerOn(new Blocks())
    await late.take(BLOCK / 2 + 1, NO_SIGNAL)
    late.noteReported(needleIdFromBigInt(5_000_000n))
    late.noteReported(needleIdFromBigInt(4_000_000n))
    expect(needleIdToBigInt(await late.take(5, NO_SIGNAL))).toBe(5_000_001n)
    late.noteReported(needleIdFromBigInt(5_000_003n))
    expect(needleIdToBigInt(await late.take(5, NO_SIGNAL))).toBe(5_000_006n)
  })

  test('drops a block that was fetched while a report overtook it', async () => {
    const sequencer = sequencerOn(new Blocks())
    await sequencer.take(1, NO_SIGNAL)
    const crossing = sequencer.take(BLOCK, NO_SIGNAL)
    sequencer.noteReported(needleIdFromBigInt(77_777n))
    expect(needleIdToBigInt(await crossing)).toBe(77_778n)
  })

  test('is not led astray by an id 2^48 above its own', async () => {
    const sequencer = sequencerOn(new Blocks())
    await sequencer.take(1, NO_SIGNAL)
    sequencer.noteReported(needleIdFromBigInt(2n ** 64n - 1n))
    expect(needleIdToBigInt(await sequencer.take(1, NO_SIGNAL))).toBe(2n)
  })

  test('a caller that gives up does not end the fetch for the others', async () => {
    const sequencer = sequencerOn(new Blocks())
    const impatient = new AbortController()
    const first = sequencer.take(1, impatient.signal)
    const second = sequencer.take(1, NO_SIGNAL)
    impatient.abort()
    await expect(first).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(needleIdToBigInt(await second)).toBe(1n)
  })
})
