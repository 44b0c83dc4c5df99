import { expect } from 'vitest'
import { type NeedleId, needleIdFromNumber } from '../../src/base/ids.ts'
import {
  type EncodedVolume,
  type EncodeRun,
  encodeVolumeHere,
} from '../../src/storage/encode-volume.ts'
import type { ShardSet } from '../../src/storage/shard-set.ts'
import type { ShardSetFiles } from '../../src/storage/shard-set-files.ts'
import type { Store } from '../../src/storage/store.ts'
import { TestStore, vid } from './test-store.ts'
import { SIGNAL } from './volume-model.ts'

/** Small enough that a volume of a few needles has large and small blocks. */
export const SMALL_RUN: EncodeRun = {
  runId: '1700000000000000001',
  dataShards: 3,
  parityShards: 2,
  largeBlockBytes: 1024,
  smallBlockBytes: 256,
  codecUnitBytes: 64,
}

export function encodeHere(
  store: Store,
  id: number,
  run: EncodeRun = SMALL_RUN,
  signal: AbortSignal = SIGNAL,
): Promise<EncodedVolume> {
  return encodeVolumeHere(store, vid(id), { run, signal })
}

/** All a server gets of a set before its shards, and the shards. */
export interface CodedVolume {
  readonly dat: Buffer
  readonly files: ShardSetFiles
  readonly shards: readonly Buffer[]
}

/** A volume 7 with needles 1 to 9, coded: what there was of it, by itself. */
export async function makeCodedVolume(run: EncodeRun = SMALL_RUN): Promise<CodedVolume> {
  await using test = new TestStore()
  await test.open()
  await test.createVolume(7)
  for (let needle = 1; needle <= 9; needle++) await test.put(7, needle, `${needle}`.repeat(500))
  const { sets } = await encodeHere(test.store, 7, run)
  const [set] = sets
  if (set === undefined) throw new Error('there is a set')
  const shards = await Promise.all(set.shards.map((shard) => shardOf(set, shard)))
  return { dat: test.disk.contents('/a/7.dat'), files: filesOf(set), shards }
}

export function filesOf(set: ShardSet): ShardSetFiles {
  const { run, index, checksums } = set
  return { run, ecx: Buffer.from(index.rows), checksums, deleted: set.journal() }
}

export async function shardOf(set: ShardSet, shard: number): Promise<Buffer> {
  const bytes = Buffer.alloc(set.geometry.shardBytes)
  await set.read(shard, bytes, 0)
  return bytes
}

/** Every block of every shard and every file beside them is as it should be. */
export async function expectSound(set: ShardSet): Promise<void> {
  const { blockBytes } = set.checksums
  const scratch = Buffer.alloc(blockBytes)
  const blocks = Math.ceil(set.geometry.shardBytes / blockBytes)
  for (const shard of set.shards) {
    for (let block = 0; block < blocks; block++) {
      expect([shard, block, await set.verifyBlock(shard, block, scratch)]).toEqual([
        shard,
        block,
        true,
      ])
    }
  }
  expect(set.badShards).toEqual([])
  expect(await set.findDamage()).toEqual([])
}

export function needleIds(...ids: number[]): NeedleId[] {
  return ids.map(needleIdFromNumber)
}

/** Ascending. */
export function journalOf(set: ShardSet): number[] {
  return set
    .journal()
    .map(({ hi, lo }) => hi * 2 ** 32 + lo)
    .sort((a, b) => a - b)
}
