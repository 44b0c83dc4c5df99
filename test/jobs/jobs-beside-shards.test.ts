import { describe, expect, test } from 'vitest'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import { Bench, DONE, failedWith } from './ec-bench.ts'

describe('a volume with shards instead of copies', () => {
  test.each<[JobKind, JobTarget]>([
    ['replica-repair', {}],
    ['vacuum', {}],
    ['move', { node: 'a' }],
  ])('is left as it is by %s', async (kind, target) => {
    const bench = Bench.coded()
    const result = await bench.run(kind, target)
    expect(result).toMatchObject({ ...DONE, summary: 'the volume is erasure-coded' })
    expect([bench.volume.setVersion, bench.fault]).toEqual([2, undefined])
  })

  test('is read whole by a scrub, which heals it and notes each directory', async () => {
    const bench = Bench.coded()
    bench.set('b').flipped.add(1)
    expect(await bench.run('scrub')).toMatchObject({
      ...DONE,
      summary: '4 copies read, 1 damages found',
    })
    const notes = bench.cluster.scrubNotes.map((note) => `${note.directoryId} ${note.damageCount}`)
    expect(notes).toEqual(['a/0 0', 'b/0 1', 'c/0 0', 'd/0 0'])
    expect(bench.fault).toBeUndefined()
  })

  test('makes a scrub fail that cannot heal, and all the rest is read', async () => {
    const bench = Bench.coded()
    for (const url of 'abc') bench.set(url).flipped.add('abc'.indexOf(url))
    expect(await bench.run('scrub')).toMatchObject(failedWith('SHARDS_LOST'))
    expect(bench.cluster.goodShards(bench.volume).length).toBe(1)
  })

  test.each([
    [190_000, false],
    [199_000, true],
  ])('expires %d ms after it was changed last: %s', async (ms, isDeleted) => {
    const bench = Bench.coded('3m')
    bench.cluster.clock.pass(ms - 60_000)
    expect(await bench.run('expire')).toMatchObject(DONE)
    expect([bench.volume.isDeleted, bench.fault]).toEqual([isDeleted, undefined])
  })

  test('has the replication it will have when it is decoded', async () => {
    const bench = Bench.coded()
    const replication = { otherDataCenters: 0, otherRacks: 0, otherServers: 2 }
    await bench.run('set-replication', { collection: 'c', replication })
    await bench.run('ec-decode')
    expect([bench.volume.members.length, bench.fault]).toEqual([3, undefined])
  })
})
