import { describe, expect, test, vi } from 'vitest'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { ALL_FAULTS, Copies, type Fault, stream } from './copies.ts'
import { fid, type LocalNode, nodeAt, vacuumCommand } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const isStored = (fault: Fault): boolean => fault.includes('stored')
const isReached = (fault: Fault): boolean => fault === 'refuses'
const CASES = ALL_FAULTS.flatMap((fault) => [
  { fault, isMasterAway: false },
  { fault, isMasterAway: true },
])
const TWO_AND_THREE = CASES.flatMap((each) => [
  { ...each, count: 2 },
  { ...each, count: 3 },
])

describe.each([
  ['put', (node: LocalNode, needle: number, text: string) => node.put(3, needle, text)],
  ['putStream', stream],
] as const)('a %s that not every copy takes', (_name, put) => {
  test.each(TWO_AND_THREE)(
    'does not count, and is undone where new ($count copies, $fault, no master: $isMasterAway)',
    async ({ fault, isMasterAway, count }) => {
      await using copies = await Copies.open(count)
      copies.break(count, fault)
      copies.setMasterAway(isMasterAway)
      const { code, ms } = await copies.settle(put(copies.at(1), 1, 'new'))
      expect(code).toBe('REPLICATION_FAILED')
      expect(ms).toBeLessThanOrEqual(6000)
      expect(copies.at(1).opened.counts.failures.value).toBe(1)
      expect(await copies.textAt(1, 1)).toBe('NEEDLE_NOT_FOUND')
      if (count === 3) expect(await copies.textAt(2, 1)).toBe('new')
      expect(await copies.textAt(count, 1)).toBe(isStored(fault) ? 'new' : 'NEEDLE_NOT_FOUND')
      // What is nowhere any more need not be told.
      const isNowhere = count === 2 && isReached(fault)
      const unreached = isReached(fault) ? [] : [`node:${count}`]
      const told = isNowhere ? [] : [{ needle: 1, kind: 'put', unreached }]
      expect(copies.dirty).toEqual(isMasterAway ? [] : told)
      // Nobody forgets it meanwhile.
      copies.setMasterAway(false)
      await copies.cluster.clock.advance(60_000)
      expect(copies.dirty).toEqual(told)
    },
  )

  test.each(CASES)(
    'over a live needle takes nothing away (one $fault, no master: $isMasterAway)',
    async ({ fault, isMasterAway }) => {
      await using copies = await Copies.open(3)
      await put(copies.at(1), 1, 'old')
      copies.break(3, fault)
      copies.setMasterAway(isMasterAway)
      const { code } = await copies.settle(put(copies.at(1), 1, 'new one'))
      expect(code).toBe('REPLICATION_FAILED')
      expect(await copies.textAt(1, 1)).toBe('new one')
      expect(await copies.textAt(2, 1)).toBe('new one')
      expect(await copies.textAt(3, 1)).toBe(isStored(fault) ? 'new one' : 'old')
      copies.setMasterAway(false)
      await copies.cluster.clock.advance(60_000)
      const unreached = isReached(fault) ? [] : ['node:3']
      expect(copies.dirty).toEqual([{ needle: 1, kind: 'put', unreached }])
    },
  )

  test.each(ALL_FAULTS)('of the same bytes takes nothing away (one %s)', async (fault) => {
    await using copies = await Copies.open(3)
    await put(copies.at(1), 1, 'same')
    copies.break(3, fault)
    const { code } = await copies.settle(put(copies.at(1), 1, 'same'))
    expect(code).toBe('REPLICATION_FAILED')
    for (const port of [1, 2, 3]) expect(await copies.textAt(port, 1)).toBe('same')
  })

  test.each(ALL_FAULTS)('that another copy had already is not undone (one %s)', async (fault) => {
    await using copies = await Copies.open(3)
    // Acknowledged once, and then lost by the first copy alone.
    await put(copies.at(2), 1, 'same')
    const { needleId: id, cookie } = fid(3, 1)
    await copies.at(1).opened.store.get(vid(3)).volume.delete({ id, cookie }, SIGNAL)
    copies.break(3, fault)
    await copies.settle(put(copies.at(1), 1, 'same'))
    for (const port of [1, 2]) expect(await copies.textAt(port, 1)).toBe('same')
  })

  test.each(CASES)(
    'counts under best-effort when it is recorded (one $fault, no master: $isMasterAway)',
    async ({ fault, isMasterAway }) => {
      await using copies = await Copies.open(3)
      copies.cluster.master.writePolicy = 'best-effort'
      await copies.cluster.clock.advance(10_000)
      await put(copies.at(1), 1001, 'the policy is known now')
      copies.break(3, fault)
      copies.setMasterAway(isMasterAway)
      const { code } = await copies.settle(put(copies.at(1), 1, 'new'))
      expect(code).toBe(isMasterAway ? 'REPLICATION_FAILED' : 'done')
      // Nothing is undone: it may be recorded a moment later, and that does no harm.
      for (const port of [1, 2]) expect(await copies.textAt(port, 1)).toBe('new')
      copies.setMasterAway(false)
      await copies.cluster.clock.advance(60_000)
      const unreached = isReached(fault) ? [] : ['node:3']
      expect(copies.dirty).toEqual([{ needle: 1, kind: 'put', unreached }])
    },
  )

  test('counts under best-effort with no other copy within reach', async () => {
    await using copies = await Copies.open(3)
    const { master, clock } = copies.cluster
    master.writePolicy = 'best-effort'
    master.known.set(vid(3), [nodeAt(1)])
    await clock.advance(10_000)
    expect((await copies.settle(put(copies.at(1), 1, 'new'))).code).toBe('done')
    expect(copies.dirty).toEqual([{ needle: 1, kind: 'put', unreached: [] }])
    expect(await copies.textAt(1, 1)).toBe('new')
  })

  test('counts under best-effort when only another copy could store it', async () => {
    await using copies = await Copies.open(2)
    copies.cluster.master.writePolicy = 'best-effort'
    await copies.cluster.clock.advance(10_000)
    await copies.at(1).api.sealVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    const { code } = await copies.settle(copies.at(1).put(3, 1, 'new'))
    expect(code).toBe('done')
    expect(await copies.textAt(2, 1)).toBe('new')
    expect(copies.dirty).toEqual([{ needle: 1, kind: 'put', unreached: [] }])
  })

  test('which another one of the same needle has overtaken is left alone', async () => {
    await using copies = await Copies.open(3)
    copies.break(3, 'hangs')
    const lost = put(copies.at(1), 1, 'lost')
    const failing = copies.settle(lost)
    await copies.cluster.clock.advance(1000)
    copies.mend(3)
    // Through another server, which is told of success.
    expect((await copies.settle(put(copies.at(2), 1, 'acknowledged'))).code).toBe('done')
    expect((await failing).code).toBe('REPLICATION_FAILED')
    for (const port of [1, 2, 3]) expect(await copies.textAt(port, 1)).toBe('acknowledged')
  })
})

describe('a put that fails here', () => {
  test('and nowhere else is told as what it is, and the others are recorded', async () => {
    await using copies = await Copies.open(3)
    await copies.at(1).api.sealVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    const { code } = await copies.settle(copies.at(1).put(3, 1, 'new'))
    expect(code).toBe('VOLUME_SEALED')
    expect(copies.dirty).toEqual([{ needle: 1, kind: 'put', unreached: [] }])
  })

  test('and everywhere leaves no trace', async () => {
    await using copies = await Copies.open(3)
    for (const { api } of copies.nodes) {
      await api.sealVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    }
    const { code } = await copies.settle(copies.at(1).put(3, 1, 'new'))
    expect(code).toBe('VOLUME_SEALED')
    expect(copies.dirty).toEqual([])
  })
})

describe('a delete that not every copy takes', () => {
  test.each(TWO_AND_THREE)(
    'counts when it is recorded ($count copies, one $fault, no master: $isMasterAway)',
    async ({ fault, isMasterAway, count }) => {
      await using copies = await Copies.open(count)
      await copies.at(1).put(3, 1, 'old')
      copies.break(count, fault)
      copies.setMasterAway(isMasterAway)
      const { code, answer } = await copies.settle(copies.at(1).delete(3, 1))
      expect(code).toBe(isMasterAway ? 'REPLICATION_FAILED' : 'done')
      if (!isMasterAway) expect(answer?.wasLive).toBe(true)
      for (let port = 1; port < count; port++) {
        expect(await copies.textAt(port, 1)).toBe('NEEDLE_NOT_FOUND')
      }
      expect(await copies.textAt(count, 1)).toBe(isStored(fault) ? 'NEEDLE_NOT_FOUND' : 'old')
      copies.setMasterAway(false)
      await copies.cluster.clock.advance(60_000)
      const unreached = isReached(fault) ? [] : [`node:${count}`]
      expect(copies.dirty).toEqual([{ needle: 1, kind: 'delete', unreached }])
    },
  )

  test('counts with a copy that no master knows of any more, and is recorded', async () => {
    await using copies = await Copies.open(3)
    await copies.at(1).put(3, 1, 'old')
    copies.cluster.master.known.set(vid(3), [nodeAt(1), nodeAt(2)])
    await copies.cluster.clock.advance(10_000)
    expect((await copies.settle(copies.at(1).delete(3, 1))).code).toBe('done')
    expect(copies.dirty).toEqual([{ needle: 1, kind: 'delete', unreached: [] }])
    expect(await copies.textAt(3, 1)).toBe('old')
  })

  test('counts when only another copy could take it', async () => {
    await using copies = await Copies.open(2)
    await copies.at(1).put(3, 1, 'old')
    copies.at(1).disk.failCall(1, 'EIO', ['datasync'])
    expect((await copies.settle(copies.at(1).delete(3, 1))).code).toBe('done')
    expect(await copies.textAt(2, 1)).toBe('NEEDLE_NOT_FOUND')
    expect(copies.dirty).toEqual([{ needle: 1, kind: 'delete', unreached: [] }])
    for await (const _ of copies.at(1).api.vacuumVolume(vacuumCommand(3), SIGNAL));
  })

  test('finds what is missing here and there in another copy', async () => {
    await using copies = await Copies.open(2)
    await copies.at(1).put(3, 1, 'old')
    const { needleId: id, cookie } = fid(3, 1)
    await copies.at(1).opened.store.get(vid(3)).volume.delete({ id, cookie }, SIGNAL)
    expect((await copies.settle(copies.at(1).delete(3, 1))).answer?.wasLive).toBe(true)
    expect(copies.dirty).toEqual([])
  })

  test('with a wrong cookie deletes nothing and records nothing', async () => {
    await using copies = await Copies.open(2)
    await copies.at(2).put(3, 1, 'old')
    const { needleId: id, cookie } = fid(3, 1)
    await copies.at(1).opened.store.get(vid(3)).volume.delete({ id, cookie }, SIGNAL)
    const request = { fileId: fid(3, 1, 99), writeToken: '', isReplica: false }
    const { code } = await copies.settle(copies.at(1).api.delete(request, SIGNAL))
    expect(code).toBe('COOKIE_MISMATCH')
    expect(copies.dirty).toEqual([])
    expect(await copies.textAt(2, 1)).toBe('old')
  })

  test('of many needles is recorded with few messages', async () => {
    await using copies = await Copies.open(2)
    for (let needle = 1; needle <= 100; needle++) await copies.at(1).put(3, needle, 'old')
    copies.break(2, 'down')
    const requests = Array.from({ length: 100 }, (_, index) => ({
      fileId: fid(3, index + 1),
      writeToken: '',
      isReplica: false,
    }))
    const { answer } = await copies.settle(copies.at(1).api.batchDelete(requests, SIGNAL))
    expect(answer?.every(({ wasLive }) => wasLive)).toBe(true)
    expect(copies.dirty).toHaveLength(100)
    expect(copies.cluster.master.recorded.length).toBeLessThan(10)
  })
})

describe('a server that does not answer', () => {
  test('costs one write three seconds, and those that follow nothing for a while', async () => {
    await using copies = await Copies.open(2)
    copies.break(2, 'hangs')
    expect((await copies.settle(copies.at(1).put(3, 1, 'a'))).ms).toBe(3000)
    expect(copies.dirty).toHaveLength(1)
    for (let needle = 2; needle < 20; needle++) {
      const { code, ms } = await copies.settle(copies.at(1).put(3, needle, 'b'))
      expect({ code, ms }).toEqual({ code: 'REPLICATION_FAILED', ms: 0 })
    }
    // Nothing was written, so there is nothing to be told.
    expect(copies.dirty).toHaveLength(1)
    expect(await copies.textAt(1, 2)).toBe('NEEDLE_NOT_FOUND')
  })

  test('is tried again by one write, and is as good as others when it answers', async () => {
    await using copies = await Copies.open(2)
    copies.break(2, 'hangs')
    await copies.settle(copies.at(1).put(3, 1, 'a'))
    await copies.cluster.clock.advance(2000)
    const trial = copies.settle(copies.at(1).put(3, 2, 'b'))
    await copies.cluster.clock.advance(0)
    expect((await copies.settle(copies.at(1).put(3, 3, 'c'))).ms).toBe(0)
    expect((await trial).ms).toBeGreaterThanOrEqual(3000)
    copies.mend(2)
    expect((await copies.settle(copies.at(1).put(3, 4, 'd'))).code).toBe('REPLICATION_FAILED')
    await copies.cluster.clock.advance(2000)
    expect((await copies.settle(copies.at(1).put(3, 5, 'e'))).code).toBe('done')
    expect((await copies.settle(copies.at(1).put(3, 6, 'f'))).code).toBe('done')
  })

  test('does not hold up deletes, which are recorded for it', async () => {
    await using copies = await Copies.open(2)
    for (const needle of [1, 2]) await copies.at(1).put(3, needle, 'old')
    copies.break(2, 'hangs')
    expect((await copies.settle(copies.at(1).delete(3, 1))).ms).toBe(3000)
    expect(await copies.settle(copies.at(1).delete(3, 2))).toMatchObject({ code: 'done', ms: 0 })
    expect(copies.dirty).toHaveLength(2)
  })

  test('gets time for a large body', async () => {
    await using copies = await Copies.open(2)
    copies.break(2, 'hangs')
    const request = { fileId: fid(3, 1), data: Buffer.alloc(8_388_608), metadata: {} }
    const put = copies.at(1).api.put({ ...request, writeToken: '', isReplica: false }, SIGNAL)
    expect((await copies.settle(put)).ms).toBe(5000)
  })

  test('which is the master fails the write in time', async () => {
    await using copies = await Copies.open(2)
    copies.break(2, 'down')
    copies.cluster.master.beforeRecord = () => new Promise(() => undefined)
    const { code, ms } = await copies.settle(copies.at(1).put(3, 1, 'a'))
    expect({ code, ms }).toEqual({ code: 'REPLICATION_FAILED', ms: 3000 })
  })
})
