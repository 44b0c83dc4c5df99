import { describe, expect, test } from 'vitest'
import { needleIdFromNumber, needleIdToBigInt } from '../../src/base/ids.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { mergeNeedles } from '../../src/jobs/needle-merge.ts'
import type { NeedleSummary } from '../../src/net/volume-api.ts'
import { Prng, seeds } from '../support/prng.ts'

interface Listed {
  readonly closed: number[]
  readonly lists: AsyncIterable<readonly NeedleSummary[]>[]
}

function listsOf(all: readonly (readonly number[])[], pageLength: () => number): Listed {
  const closed: number[] = []
  const lists = all.map((needles, index) => pagesOf(needles, pageLength, () => closed.push(index)))
  return { closed, lists }
}

async function* pagesOf(
  needles: readonly number[],
  pageLength: () => number,
  onClose: () => void,
): AsyncGenerator<readonly NeedleSummary[]> {
  try {
    for (let at = 0; at < needles.length; ) {
      const length = pageLength()
      yield needles.slice(at, at + length).map((needle) => {
        const needleId = needleIdFromNumber(needle)
        return { needleId, sizeBytes: 1, isDeleted: false }
      })
      at += length
    }
  } finally {
    onClose()
  }
}

async function merged(lists: Listed['lists']): Promise<[number, string][]> {
  const rows: [number, string][] = []
  for await (const batch of mergeNeedles(lists)) {
    for (const { needleId, summaries } of batch) {
      const where = summaries.map((summary) => (summary === undefined ? '-' : 'x')).join('')
      rows.push([Number(needleIdToBigInt(needleId)), where])
    }
  }
  return rows
}

describe('lists of needles side by side', () => {
  test.each([
    [[[], []], []],
    [
      [
        [1, 2],
        [2, 3],
      ],
      [
        [1, 'x-'],
        [2, 'xx'],
        [3, '-x'],
      ],
    ],
    [
      [[5], [], [4]],
      [
        [4, '--x'],
        [5, 'x--'],
      ],
    ],
    [
      [[0x1_0000_0001], [1]],
      [
        [1, '-x'],
        [0x1_0000_0001, 'x-'],
      ],
    ],
  ])('of %o', async (all, rows) => {
    expect(await merged(listsOf(all, () => 2).lists)).toEqual(rows)
  })

  test.each(seeds(200))(
    'name every needle once, ascending, with who has it (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      const all = Array.from({ length: prng.between(1, 4) }, () => {
        const share = prng.below(100) / 100
        return Array.from({ length: 50 }, (_, needle) => needle).filter(() => prng.chance(share))
      })
      // Empty pages as well.
      const { lists, closed } = listsOf(all, () => prng.between(1, 9))
      const expected = Array.from({ length: 50 }, (_, needle) => needle)
        .map((needle) => [needle, all.map((list) => (list.includes(needle) ? 'x' : '-')).join('')])
        .filter(([, where]) => String(where).includes('x'))
      expect(await merged(lists)).toEqual(expected)
      expect(closed.toSorted()).toEqual(all.map((_, index) => index))
    },
  )

  test.each([[[2, 1]], [[1, 1]]])('refuse %o, which is not ascending', async (needles) => {
    for (const length of [1, 2]) {
      const { lists } = listsOf([needles, [7]], () => length)
      const error: unknown = await merged(lists).catch((reason: unknown) => reason)
      expect(isStoreError(error, 'PEER_FAILED')).toBe(true)
    }
  })

  test('are closed when their reader stops', async () => {
    const { lists, closed } = listsOf(
      [
        [1, 2, 3],
        [1, 2, 3],
      ],
      () => 1,
    )
    for await (const _rows of mergeNeedles(lists)) break
    expect(closed.toSorted()).toEqual([0, 1])
  })
})
