import { expect, test } from 'vitest'
import { LevelCoordinator } from '../../src/metadata/level/level-coordinator.ts'
import { LevelStore } from '../../src/metadata/level/level-store.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { testCoordinator } from '../conformance/coordinator.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const never = new AbortController().signal
const random = new Prng(3)

testCoordinator('LevelCoordinator', async () => {
  const directory = await openTempDirectory()
  let store: LevelStore | undefined
  return {
    async open(address) {
      await store?.[Symbol.asyncDispose]()
      const parts = { clock: systemClock, disk: new NodeDisk(), logger: silentLogger }
      store = await LevelStore.open(parts, { directory: directory.path }, never)
      return await LevelCoordinator.open(
        { store, random, logger: silentLogger },
        { address },
        never,
      )
    },
    async [Symbol.asyncDispose]() {
      await store?.[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    },
  }
})

const parts = (store: MemoryStore) => ({ store, random, logger: silentLogger })

test.each([
  ['cluster/epoch', '0100'],
  ['cluster/epoch', '020000000000000001'],
  ['cluster/id', '01616263'],
  ['cluster/id', ''],
])('a row %s of %o is METADATA_CORRUPT, and stays as it is', async (key, hex) => {
  await using store = new MemoryStore()
  const value = new Uint8Array(Buffer.from(hex, 'hex'))
  await store.commit({ puts: [{ key, value }] }, never)
  const opening = LevelCoordinator.open(parts(store), { address: 'a' }, never)
  await expect(opening).rejects.toMatchObject({ code: 'METADATA_CORRUPT' })
  expect(Buffer.from((await store.get(key, never)) ?? [])).toEqual(Buffer.from(value))
})

test('a corrupt row of a block gives no numbers', async () => {
  await using store = new MemoryStore()
  await using coordinator = await LevelCoordinator.open(parts(store), { address: 'a' }, never)
  await store.commit({ puts: [{ key: 'cluster/blocks/x', value: Uint8Array.of(1, 2) }] }, never)
  const block = coordinator.allocateBlock('x', 1, 0n, never)
  await expect(block).rejects.toMatchObject({ code: 'METADATA_CORRUPT' })
})

test.each([
  [5, 6],
  [1_700_000_000, 1_700_000_001],
])('metadata made anew goes on with the cluster id, and above epoch %d', async (epoch, next) => {
  const store = new MemoryStore()
  const clusterId = '0123456789abcdef'.repeat(2)
  const lost = { clusterId, epoch }
  const first = await LevelCoordinator.open(parts(store), { address: 'a', lost }, never)
  expect([first.clusterId, first.epoch]).toEqual([clusterId, next])
  const second = await LevelCoordinator.open(parts(store), { address: 'a' }, never)
  expect([second.clusterId, second.epoch]).toEqual([clusterId, next + 1])
})
