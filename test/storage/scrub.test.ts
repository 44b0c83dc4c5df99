import { describe, expect, test } from 'vitest'
import { formatNeedleId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { MIB } from '../../src/base/units.ts'
import { NEEDLE_DATA_AT, TOMBSTONE_BYTES } from '../../src/format/needle.ts'
import type { ScrubFinding, ScrubOptions, ScrubStep } from '../../src/storage/scrub.ts'
import { Prng, seeds } from '../support/prng.ts'
import { MIB_BLOCK_VOLUME } from '../support/scrub-volume.ts'
import { expectCode, PATHS, SIGNAL, TestVolume, toId } from '../support/test-volume.ts'

/** Whatever a test has broken, the check at its end finds as well. */
const BROKEN = [
  'NEEDLE_CORRUPT',
  'VOLUME_DAMAGED',
  'INDEX_CORRUPT',
  'SIDECAR_CORRUPT',
  'VOLUME_INFO_CORRUPT',
  'SUPER_BLOCK_CORRUPT',
  'VERSION_UNSUPPORTED',
  'TAIL_TORN',
] as const

interface Outcome {
  readonly steps: readonly ScrubStep[]
  readonly findings: readonly ScrubFinding[]
  readonly digest: string
}

async function scrub(test: TestVolume, options: ScrubOptions = {}): Promise<Outcome> {
  const steps: ScrubStep[] = []
  for await (const step of test.volume.scrub(options, SIGNAL)) steps.push(step)
  expect(steps.at(-1)?.isDone).toBe(true)
  expect(steps.slice(0, -1).some(({ isDone }) => isDone)).toBe(false)
  const findings = steps.flatMap((step) => step.findings)
  return { steps, findings, digest: steps.at(-1)?.contentDigest ?? '' }
}

/** A byte on the disk changes behind everybody's back. */
function flip(test: TestVolume, path: string, at: number, bit = 3): void {
  test.disk.flipBit(path, at, bit)
  test.disk.evictCaches()
}

function placeOf(test: TestVolume, id: number): number {
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  expect(test.volume.entries.lookup(toId(id), location)).toBe(true)
  return location.offsetBytes
}

function idsOf(findings: readonly ScrubFinding[]): string[] {
  return findings.map(({ kind, needleId }) => `${kind} ${formatNeedleId(needleId)}`)
}

async function fill(test: TestVolume): Promise<void> {
  for (let id = 1; id <= 8; id++) await test.put(id, `needle ${id}`, { name: `${id}.txt` })
  await test.delete(2)
  await test.put(3, 'overwritten')
}

describe('a scrub of a sound volume', () => {
  test('finds nothing, ends at its end, and has a digest', async () => {
    await using test = await TestVolume.create()
    await fill(test)
    const { findings, digest, steps } = await scrub(test)
    expect(findings).toEqual([])
    expect(digest).toMatch(/^[0-9a-f]{16}$/)
    const { datBytes, compactionRevision } = test.volume.stats
    expect(steps.at(-1)).toMatchObject({
      at: { datBytes, compactionRevision },
      totalBytes: datBytes,
    })
  })

  test('finds nothing in one that is empty, sealed, reopened, vacuumed, given another placement', async () => {
    await using test = await TestVolume.create()
    expect((await scrub(test)).findings).toEqual([])
    await fill(test)
    await test.volume.seal()
    expect((await scrub(test)).findings).toEqual([])
    await test.reopen()
    expect((await scrub(test)).findings).toEqual([])
    await test.volume.vacuum({}, SIGNAL)
    expect((await scrub(test)).findings).toEqual([])
    await test.volume.setReplication({ otherDataCenters: 0, otherRacks: 1, otherServers: 0 })
    expect((await scrub(test)).findings).toEqual([])
  })

  test('goes on while needles are put, overwritten, deleted, at any of its calls', async () => {
    for (let call = 1; ; call++) {
      await using test = await TestVolume.create({ seed: call })
      await fill(test)
      const writes: Promise<unknown>[] = []
      let left = call
      test.hooks.before = () => {
        if (--left !== 0) return
        writes.push(test.put(9, 'nine'), test.put(1, 'again'), test.delete(4), test.delete(5))
        writes.push(test.put(5, 'back'), test.volume.checkpoint())
      }
      expect((await scrub(test)).findings).toEqual([])
      test.hooks.before = undefined
      if (left > 0) {
        expect(call).toBeGreaterThan(5)
        return
      }
      await Promise.all(writes)
    }
  })

  test('starts anew on the new files of a vacuum in the middle of it', async () => {
    await using test = await TestVolume.create()
    await fill(test)
    const whole = await scrub(test)
    let isFirst = true
    const steps: ScrubStep[] = []
    for await (const step of test.volume.scrub({}, SIGNAL)) {
      steps.push(step)
      if (isFirst) await test.volume.vacuum({}, SIGNAL)
      isFirst = false
    }
    expect(steps.flatMap(({ findings }) => findings)).toEqual([])
    expect(steps[0]?.at.compactionRevision).toBe(0)
    expect(steps.at(-1)?.at).toEqual(test.volume.extent)
    expect(steps.at(-1)?.contentDigest).toBe(whole.digest)
  })

  test('is CANCELLED by its signal and by the closing of the volume, and holds neither up', async () => {
    await using test = await TestVolume.create()
    await fill(test)
    const aborting = new AbortController()
    const run = test.volume.scrub({}, aborting.signal)
    await run.next()
    aborting.abort()
    await expectCode(run.next(), 'CANCELLED')
    const other = test.volume.scrub({}, SIGNAL)
    await other.next()
    // Nobody asks for the next step, and the files are closed all the same.
    await test.close()
    await expectCode(other.next(), 'CANCELLED')
  })

  test('rests as it is told, with the time that it worked', async () => {
    await using test = await TestVolume.create()
    for (let id = 1; id <= 30; id++) await test.put(id, new Prng(id).bytes(MIB))
    let worked = 0
    let rests = 0
    test.hooks.before = ({ kind }) => (kind === 'read' ? test.clock.advance(2) : undefined)
    const pace = async (workMs: number): Promise<void> => {
      worked += workMs
      rests++
      await test.clock.advance(1000)
    }
    await scrub(test, { pace })
    test.hooks.before = undefined
    expect(rests).toBeGreaterThan(8)
    // Only work counts, not the rests.
    expect(worked).toBeGreaterThan(60)
    expect(worked).toBeLessThan(1000)
  })
})

describe('the digest', () => {
  test('is the same whatever the order, the garbage, the times and the restarts', async () => {
    await using one = await TestVolume.create()
    await using other = await TestVolume.create({ seed: 9 })
    for (let id = 1; id <= 6; id++) await one.put(id, `needle ${id}`, { lastModifiedS: id })
    for (let id = 7; id >= 1; id--) await other.put(id, `needle ${id}`)
    await other.delete(7)
    await other.put(3, 'needle 3', { name: 'x' })
    await other.put(3, 'needle 3')
    const { digest } = await scrub(one)
    expect((await scrub(other)).digest).toBe(digest)
    await other.volume.vacuum({}, SIGNAL)
    await other.reopen()
    expect((await scrub(other)).digest).toBe(digest)
  })

  test('differs with data, name, cookie, and with a needle more or less', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one', { name: 'a' })
    await test.put(2, 'two')
    const digests = [(await scrub(test)).digest]
    await test.put(1, 'eno', { name: 'a' })
    digests.push((await scrub(test)).digest)
    await test.put(1, 'one', { name: 'b' })
    digests.push((await scrub(test)).digest)
    const input = { id: toId(1), cookie: 4, data: Buffer.from('one'), attributes: { name: 'a' } }
    await test.volume.put({ ...input, isHeal: true }, SIGNAL)
    digests.push((await scrub(test)).digest)
    await test.delete(2)
    digests.push((await scrub(test)).digest)
    expect(new Set(digests).size).toBe(digests.length)
  })
})

describe('a scrub finds', () => {
  // Goal: no wrong byte of `.dat` goes unnoticed, and it is named as what it is.
  // Method: every byte of a small volume, one at a time.
  test('every flipped byte of .dat, and blames the needle that has it', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    await fill(test)
    const { datBytes } = test.volume.stats
    const places = [1, 3, 4, 5, 6, 7, 8].map((id) => [placeOf(test, id), id] as const)
    for (let at = 0; at < datBytes; at++) {
      flip(test, PATHS.dat, at)
      const { findings } = await scrub(test)
      const owner = places
        .filter(([start]) => start <= at)
        .sort(([a], [b]) => b - a)
        .at(0)
      const [start = 0, id = 0] = owner ?? []
      const lengthOf = id === 3 ? recordLength('overwritten') : recordLength('needle 1', '1.txt')
      const expected = owner !== undefined && at < start + lengthOf ? `needle 0${id}` : undefined
      if (expected !== undefined) expect(idsOf(findings), `byte ${at}`).toEqual([expected])
      else if (at >= 8) expect(idsOf(findings), `byte ${at}`).toEqual(['block 00'])
      else expect(findings.length, `byte ${at}`).toBeGreaterThan(0)
      flip(test, PATHS.dat, at)
    }
    expect((await scrub(test)).findings).toEqual([])
  })

  test('every flipped bit of .idx, .sum and .vif, and that one of them is gone', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    await fill(test)
    await test.volume.setReplication({ otherDataCenters: 1, otherRacks: 0, otherServers: 0 })
    await test.volume.checkpoint()
    for (const extension of ['idx', 'sum', 'vif'] as const) {
      const bytes = test.file(extension)
      for (let at = 0; at < bytes.length; at++) {
        flip(test, PATHS[extension], at, at % 8)
        const { findings } = await scrub(test)
        expect(idsOf(findings), `.${extension} byte ${at}`).toEqual(['index 00'])
        flip(test, PATHS[extension], at, at % 8)
      }
      await test.disk.unlink(PATHS[extension])
      expect(idsOf((await scrub(test)).findings)).toEqual(['index 00'])
      test.disk.put(PATHS[extension], bytes)
    }
    expect((await scrub(test)).findings).toEqual([])
  })

  test.each(seeds(40))('all of several wrong bytes in large volumes (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    await using test = TestVolume.over(MIB_BLOCK_VOLUME.files, { findings: BROKEN })
    await test.open()
    const { datBytes } = test.volume.stats
    const hit = new Set<number>()
    for (let count = prng.between(1, 12); count > 0; count--) {
      const at = prng.between(8, datBytes - 1)
      if (hit.has(at)) continue
      hit.add(at)
      flip(test, PATHS.dat, at, prng.below(8))
    }
    const { findings } = await scrub(test)
    const suspects = new Set(idsOf(findings))
    for (const at of hit) {
      const owner = MIB_BLOCK_VOLUME.ownerOf(at)
      if (owner !== undefined) expect(suspects).toContain(`needle ${formatNeedleId(toId(owner))}`)
      else expect(findings.length).toBeGreaterThan(0)
    }
  })

  test('that .dat is shorter than it was', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    await fill(test)
    const bytes = test.file('dat')
    await using file = await test.disk.open(PATHS.dat, 'write')
    await file.truncate(bytes.length - TOMBSTONE_BYTES)
    expect((await scrub(test)).findings.length).toBeGreaterThan(0)
  })

  test('what is wrong in memory: an index that points elsewhere', async () => {
    await using test = await TestVolume.create()
    await fill(test)
    const map = test.volume.entries as unknown as {
      put(id: object, offset: number, size: number): void
    }
    const at = placeOf(test, 1)
    map.put(toId(1), placeOf(test, 4), 5)
    expect(idsOf((await scrub(test)).findings)).toContain('needle 01')
    const { sizeBytes } = { sizeBytes: bodyLength('needle 1', '1.txt') }
    map.put(toId(1), at, sizeBytes)
    expect((await scrub(test)).findings).toEqual([])
  })

  test('a needle whose attributes cannot be read, though its data can', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    await test.put(1, 'data', { name: 'name' })
    // The length of the name: more than there is.
    flip(test, PATHS.dat, placeOf(test, 1) + NEEDLE_DATA_AT + 4 + 1, 7)
    const { findings } = await scrub(test)
    expect(idsOf(findings)).toEqual(['needle 01'])
    expect(findings[0]?.message).toMatch(/attributes/)
  })
})

describe('a scrub that goes on', () => {
  test('where another one stopped finds what lies behind, and gives no digest', async () => {
    await using test = TestVolume.over(MIB_BLOCK_VOLUME.files, { findings: BROKEN })
    await test.open()
    const { steps } = await scrub(test)
    expect(steps.length).toBeGreaterThan(4)
    const from = steps[1]?.at
    const before = (from?.datBytes ?? 0) - MIB
    const behind = (from?.datBytes ?? 0) + MIB
    flip(test, PATHS.dat, before)
    flip(test, PATHS.dat, behind)
    const { findings, digest } = await scrub(test, { from })
    expect(digest).toBe('')
    const owners = [before, behind].map((at) => MIB_BLOCK_VOLUME.ownerOf(at))
    expect(owners.every((id) => id !== undefined)).toBe(true)
    expect(idsOf(findings)).toEqual([`needle ${formatNeedleId(toId(owners[1] ?? 0))}`])
  })

  test('in every place finds the wrong byte of a needle that reaches across it', async () => {
    await using test = TestVolume.over(MIB_BLOCK_VOLUME.files, { findings: BROKEN })
    await test.open()
    const { steps } = await scrub(test)
    for (const { at: from, isDone } of steps) {
      const at = from.datBytes
      const owner = isDone ? undefined : MIB_BLOCK_VOLUME.ownerOf(at)
      if (owner === undefined) continue
      flip(test, PATHS.dat, at)
      const { findings } = await scrub(test, { from })
      expect(findings.length).toBeGreaterThan(0)
      flip(test, PATHS.dat, at)
    }
  })

  test('from another revision begins at the start', async () => {
    await using test = await TestVolume.create()
    await fill(test)
    const from = test.volume.extent
    await test.volume.vacuum({}, SIGNAL)
    expect((await scrub(test, { from })).digest).not.toBe('')
  })

  test('tells many findings in steps that do not skip any', async () => {
    await using test = await TestVolume.create({ findings: BROKEN })
    const count = LIMITS.scrubFindingsMax.value + 500
    const writes: Promise<unknown>[] = []
    for (let id = 1; id <= count; id++) writes.push(test.put(id, `needle ${id}`))
    await Promise.all(writes)
    // Two bytes apart: nothing tells which needle is hurt.
    flip(test, PATHS.dat, placeOf(test, 1) + 1)
    flip(test, PATHS.dat, placeOf(test, 900) + 1)
    const { steps, findings } = await scrub(test)
    expect(findings).toHaveLength(count)
    expect(steps.map((step) => [step.at.datBytes, step.findings.length])).toEqual([
      [0, LIMITS.scrubFindingsMax.value],
      [test.volume.stats.datBytes, 500],
      [test.volume.stats.datBytes, 0],
      [test.volume.stats.datBytes, 0],
    ])
  })
})

function bodyLength(data: string, name = ''): number {
  return 4 + data.length + 1 + 1 + name.length + 1 + 5
}

function recordLength(data: string, name = ''): number {
  const unpadded = 16 + bodyLength(data, name) + 4 + 8
  return unpadded + 8 - (unpadded % 8)
}
