import { expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { parseTtl, TTL_NONE } from '../../src/base/ttl.ts'
import { VolumeRecords } from '../../src/master/volume-records.ts'
import {
  decodeVolume,
  encodeVolume,
  type VolumeRecord,
  volumeKey,
} from '../../src/master/volume-rows.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { SimClock } from '../support/sim-clock.ts'
import { NO_SIGNAL } from '../support/test-master.ts'

const ID = volumeId(7)
const RECORD: VolumeRecord = {
  collection: 'photos',
  replication: parseReplicaPlacement('110'),
  ttl: parseTtl('3d'),
  setVersion: 4,
  members: [
    { directoryId: 'd1', url: 'a:1', compactionRevision: 65_535 },
    { directoryId: '', url: 'b:1', compactionRevision: 0 },
  ],
  deletedAtMs: 0,
}
const CODED: VolumeRecord = {
  ...RECORD,
  members: [],
  stripe: {
    runId: '1700000000000000001',
    dataShards: 2,
    parityShards: 1,
    shards: [
      { shard: 0, directoryId: 'd1', url: 'a:1' },
      { shard: 1, directoryId: 'd1', url: 'a:1' },
      { shard: 2, directoryId: '', url: '' },
    ],
  },
}

/** The row of a coded volume with its stripe altered. */
function codedRow(stripe: object): Uint8Array {
  return encodeVolume({ ...CODED, stripe: { ...CODED.stripe, ...stripe } as never })
}

const TOMBSTONE = { ...RECORD, ttl: TTL_NONE, members: [], deletedAtMs: 17 }

async function open(store = new MemoryStore(), clock = new SimClock()) {
  const records = await VolumeRecords.open({ store, clock, logger: silentLogger }, NO_SIGNAL)
  return { records, store, clock }
}

async function storedAs(store: MemoryStore): Promise<VolumeRecord | undefined> {
  const row = await store.get(volumeKey(ID), NO_SIGNAL)
  return row && decodeVolume(volumeKey(ID), row)
}

test.each([RECORD, CODED, TOMBSTONE])('a row is read back as it was written', (record) => {
  expect(decodeVolume('key', encodeVolume(record))).toEqual(record)
})

test.each([
  ['no version', Buffer.from('{}')],
  ['no JSON', Buffer.from('\u0001{')],
  ['no members', encodeVolume({ ...RECORD, members: [] })],
  ['a member that is none', encodeVolume({ ...RECORD, members: [{ url: 'a:1' } as never] })],
  ['copies and shards', encodeVolume({ ...CODED, members: RECORD.members })],
  ['a stripe that is none', encodeVolume({ ...CODED, stripe: 'none' as never })],
  ['no run', codedRow({ runId: undefined })],
  ['a run that is no number', codedRow({ runId: '../7' })],
  ['no parity', codedRow({ dataShards: 3, parityShards: 0 })],
  ['more shards than the scheme has', codedRow({ parityShards: 2 })],
  ['no list of shards', codedRow({ shards: 3 })],
  ['shards out of order', codedRow({ shards: CODED.stripe?.shards.toReversed() })],
  ['a shard that is none', codedRow({ shards: [0, 1, 2] })],
  ['a shard without a place', codedRow({ shards: [0, 1, 2].map((shard) => ({ shard })) })],
  ['another version', Buffer.concat([Buffer.of(9), encodeVolume(RECORD).subarray(1)])],
])('a row with %s is corrupt', (_what, row) => {
  expect(() => decodeVolume('key', row)).toThrow(
    expect.objectContaining({ code: 'METADATA_CORRUPT' }),
  )
})

test('a row from before there were stripes has none', () => {
  const record = decodeVolume('key', encodeVolume(RECORD))
  expect('stripe' in record).toBe(false)
  expect(Buffer.from(encodeVolume(RECORD)).toString()).not.toContain('stripe')
})

test('what is learnt while a change is being written comes neither before nor instead of it', async () => {
  const { records, store, clock } = await open()
  await records.change([ID], () => RECORD, NO_SIGNAL)
  const commit = store.commit.bind(store)
  let release: () => void = () => undefined
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  // As with a disk: commits take effect in the order in which they were asked for.
  let line: Promise<void> = released
  store.commit = (batch, signal) => {
    const mine = line.then(() => commit(batch, signal))
    line = mine.catch(() => undefined)
    return mine
  }
  const changing = records.change(
    [ID],
    (record = RECORD) => ({ ...record, setVersion: record.setVersion + 1 }),
    NO_SIGNAL,
  )
  await clock.advance(0)
  const [first, second] = RECORD.members
  const learnt = [first, { ...second, directoryId: 'd2' }] as VolumeRecord['members']
  records.putSoon(ID, { ...RECORD, members: learnt })
  await clock.advance(5000)
  release()
  await changing
  expect(records.get(ID)).toEqual({ ...RECORD, setVersion: 5, members: learnt })
  await clock.advance(0)
  expect((await storedAs(store))?.setVersion).toBe(5)
  await clock.advance(5000)
  expect(await storedAs(store)).toEqual({ ...RECORD, setVersion: 5, members: learnt })
  await records[Symbol.asyncDispose]()
})

test('a change that was perhaps written, and failed, is undone on disk', async () => {
  const { records, store, clock } = await open()
  const commit = store.commit.bind(store)
  store.commit = async (batch, signal) => {
    await commit(batch, signal)
    throw new StoreError('DISK_FAILED', 'the answer is lost')
  }
  await expect(records.change([ID], () => RECORD, NO_SIGNAL)).rejects.toThrow()
  expect([records.get(ID), await storedAs(store)]).toEqual([undefined, RECORD])
  store.commit = commit
  await clock.advance(1000)
  expect(await storedAs(store)).toBeUndefined()
})

test('two changes of several volumes at once both happen, one after the other', async () => {
  const { records } = await open()
  const ids = [1, 2, 3].map(volumeId)
  const raise = (record: VolumeRecord = RECORD) => ({
    ...record,
    setVersion: record.setVersion + 1,
  })
  await Promise.all([
    records.change(ids, raise, NO_SIGNAL),
    records.change([...ids].reverse(), raise, NO_SIGNAL),
  ])
  expect(ids.map((id) => records.get(id)?.setVersion)).toEqual([6, 6, 6])
})

test('what was learnt is written when the master closes', async () => {
  const { records, store } = await open()
  records.putSoon(ID, RECORD)
  await records[Symbol.asyncDispose]()
  expect(await storedAs(store)).toEqual(RECORD)
  expect((await open(store)).records.get(ID)).toEqual(RECORD)
})

test('of deleted volumes the one deleted first is forgotten at the limit', async () => {
  const { records } = await open()
  for (let id = 1; id <= LIMITS.deletedVolumesKept.value + 1; id++) {
    records.putSoon(volumeId(id), TOMBSTONE)
  }
  expect(records.get(volumeId(1))).toBeUndefined()
  expect(records.get(volumeId(2))).toEqual(TOMBSTONE)
})
