import { describe, expect, test } from 'vitest'
import { cookie, needleIdFromNumber } from '../../src/base/ids.ts'
import { judgeStats } from '../../src/jobs/needle-verdict.ts'
import type { NeedleStat } from '../../src/net/volume-api.ts'

/**
 * `1@5`: lives with checksum 1, appended at 5. `x`: deleted. `-`: absent. `!`: corrupt. A copy that
 * does not count is in brackets, one that takes no writes has a `r` before.
 */
function parse(text: string) {
  const isTruth = !text.startsWith('(')
  const isWritable = !text.startsWith('r')
  const state = text.replace(/[()r]/g, '')
  const location = { url: '', publicUrl: '', grpcAddress: '', dataCenter: '', rack: '' }
  return { copy: { location, isTruth, isWritable }, stat: statOf(state) }
}

function statOf(text: string): NeedleStat {
  const needleId = needleIdFromNumber(1)
  const [checksum = '', at = '0'] = text.split('@')
  const states = { x: 'deleted', '-': 'absent', '!': 'corrupt' } as const
  const isLive = /^\d/.test(text)
  return {
    needleId,
    state: isLive ? 'live' : states[text as keyof typeof states],
    cookie: cookie(0),
    checksum: isLive ? Number(checksum) : 0,
    dataBytes: 0,
    attributesHash: 0,
    appendAtNs: BigInt(at),
  }
}

describe('of the copies of a needle', () => {
  test.each([
    // Equal, or nothing to be done.
    ['1@5 1@6', 'same'],
    ['- -', 'same'],
    ['x -', 'same'],
    ['x x', 'same'],
    ['1@5 (1@6)', 'same'],
    ['x r1@5', 'same'],
    // A tombstone wins over everything, however old.
    ['x 1@9', 'delete 1'],
    ['1@9 x 2@10', 'delete 0,2'],
    ['x !', 'delete 1'],
    ['rx 1@9', 'delete 1'],
    ['- (1@5)', 'delete 1'],
    ['x (1@5)', 'delete 1'],
    // What one lacks or has bad comes from the others.
    ['1@5 -', 'heal 1 from 0'],
    ['1@5 - 1@6', 'heal 1 from 0,2'],
    ['! 1@5 1@5', 'heal 0 from 1,2'],
    ['r1@5 -', 'heal 1 from 0'],
    ['1@5 (-)', 'heal 1 from 0'],
    ['r! r1@5 (-)', 'heal 2 from 1'],
    // Of two that differ the newest good one counts.
    ['1@5 2@6', 'heal 0 from 1'],
    ['1@5 2@6 !', 'heal 0,2 from 1'],
    ['1@5 (2@6)', 'heal 1 from 0'],
    // Nothing helps.
    ['! !', 'corrupt'],
    ['! -', 'corrupt'],
    ['! (1@5)', 'corrupt'],
    ['1@5 (x)', 'blocked'],
  ])('%s: %s', (text, expected) => {
    const parsed = text.split(' ').map(parse)
    const verdict = judgeStats(
      parsed.map(({ copy }) => copy),
      parsed.map(({ stat }) => stat),
    )
    const { kind } = verdict
    const at = 'at' in verdict ? ` ${verdict.at.join()}` : ''
    const from = 'from' in verdict ? ` from ${verdict.from.join()}` : ''
    expect(`${kind}${at}${from}`).toBe(expected)
  })
})
