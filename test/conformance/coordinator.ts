import { describe, expect, test } from 'vitest'
import type { Coordinator } from '../../src/metadata/coordinator.ts'
import { Prng } from '../support/prng.ts'

/** Where masters of one cluster are started, one after the other. */
export interface CoordinatedCluster extends AsyncDisposable {
  /** As a new process would, after the last one was closed. */
  open(address: string): Promise<Coordinator>
}

const never = new AbortController().signal

/** What every `Coordinator` must do. */
export function testCoordinator(name: string, found: () => Promise<CoordinatedCluster>): void {
  describe(`${name} as a Coordinator`, () => {
    test('the epoch grows at each start, the cluster id stays', async () => {
      await using cluster = await found()
      const epochs: number[] = []
      const clusterIds = new Set<string>()
      for (let start = 0; start < 4; start++) {
        await using coordinator = await cluster.open('127.0.0.1:9333')
        epochs.push(coordinator.epoch)
        clusterIds.add(coordinator.clusterId)
      }
      expect(epochs[0]).toBeGreaterThan(0)
      expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b))
      expect([...clusterIds]).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)])
    })

    test('an open one leads under its address, a closed one does not', async () => {
      await using cluster = await found()
      const coordinator = await cluster.open('10.0.0.1:9333')
      expect(coordinator.isLeader()).toBe(true)
      expect(coordinator.leader).toBe('10.0.0.1:9333')
      await coordinator[Symbol.asyncDispose]()
      await coordinator[Symbol.asyncDispose]()
      expect(coordinator.isLeader()).toBe(false)
      expect(coordinator.leader).toBe('')
      await expect(coordinator.allocateBlock('a', 1, 0n, never)).rejects.toMatchObject({
        code: 'NOT_LEADER',
      })
    })

    testBlocks(found)
  })
}

function testBlocks(found: () => Promise<CoordinatedCluster>): void {
  test('blocks of a name follow each other from 1, each name for itself', async () => {
    await using cluster = await found()
    await using coordinator = await cluster.open('a')
    expect(await coordinator.allocateBlock('x', 10, 0n, never)).toEqual({ first: 1n, end: 11n })
    expect(await coordinator.allocateBlock('x', 1, 0n, never)).toEqual({ first: 11n, end: 12n })
    expect(await coordinator.allocateBlock('y', 5, 0n, never)).toEqual({ first: 1n, end: 6n })
  })

  test('atLeast lifts a block, and never lowers one', async () => {
    await using cluster = await found()
    await using coordinator = await cluster.open('a')
    const block = (count: number, atLeast: bigint) =>
      coordinator.allocateBlock('x', count, atLeast, never)
    expect(await block(1, 1n)).toEqual({ first: 1n, end: 2n })
    expect(await block(1, 1n << 40n)).toEqual({ first: 1n << 40n, end: (1n << 40n) + 1n })
    expect(await block(1, 7n)).toEqual({ first: (1n << 40n) + 1n, end: (1n << 40n) + 2n })
  })

  test('numbers up to 2^64 - 2 can be had, and then no more', async () => {
    await using cluster = await found()
    await using coordinator = await cluster.open('a')
    const top = (1n << 64n) - 2n
    expect(await coordinator.allocateBlock('x', 1, top, never)).toEqual({
      first: top,
      end: top + 1n,
    })
    await expect(coordinator.allocateBlock('x', 1, 0n, never)).rejects.toMatchObject({
      code: 'OVERLOADED',
    })
  })

  test('after a new start, 200 blocks asked for at once overlap with none before', async () => {
    await using cluster = await found()
    const prng = new Prng(7)
    const blocks: { first: bigint; end: bigint }[] = []
    for (let start = 0; start < 3; start++) {
      await using coordinator = await cluster.open('a')
      const asked = Array.from({ length: 200 }, () =>
        coordinator.allocateBlock('x', prng.below(100) + 1, 0n, never),
      )
      blocks.push(...(await Promise.all(asked)))
    }
    blocks.sort((a, b) => (a.first < b.first ? -1 : 1))
    for (const [index, block] of blocks.entries()) {
      expect(block.end).toBeGreaterThan(block.first)
      expect(block.first).toBeGreaterThanOrEqual(blocks[index - 1]?.end ?? 1n)
    }
  })

  test('an aborted signal gives no block', async () => {
    await using cluster = await found()
    await using coordinator = await cluster.open('a')
    await expect(coordinator.allocateBlock('x', 1, 0n, AbortSignal.abort())).rejects.toMatchObject({
      code: 'CANCELLED',
    })
    expect(await coordinator.allocateBlock('x', 1, 0n, never)).toEqual({ first: 1n, end: 2n })
  })
}
