import { join } from 'node:path'
import { expect, test } from 'vitest'
import { isStoreError } from '../../src/base/store-error.ts'
import { LevelStore } from '../../src/metadata/level/level-store.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { skipLoudly } from '../support/mounts.ts'
import { Tmpfs } from '../support/tmpfs.ts'

const never = new AbortController().signal
const SIZE_MIB = 48
const VALUE_BYTES = 20_000
/** Bytes that do not compress. */
const VALUE = Uint8Array.from({ length: VALUE_BYTES }, (_, at) => (at * at * 7919 + at) >>> 3)

const unsupported = skipLoudly('a full disk under the metadata', Tmpfs.supported())

/** Commits until the disk is full; the keys that were acknowledged. */
async function fill(store: LevelStore, prefix: string): Promise<readonly string[]> {
  const acked: string[] = []
  for (;;) {
    const key = `${prefix}/${acked.length}`
    try {
      await store.commit({ puts: [{ key, value: VALUE }] }, never)
    } catch (error) {
      expect(isStoreError(error, 'DISK_FULL')).toBe(true)
      return acked
    }
    acked.push(key)
  }
}

/** Those of the keys that do not have the value they were given. */
async function missing(store: LevelStore, keys: readonly string[]): Promise<readonly string[]> {
  const wrong: string[] = []
  for (const key of keys) {
    const value = await store.get(key, never)
    if (value === undefined || Buffer.compare(value, VALUE) !== 0) wrong.push(key)
  }
  return wrong
}

// Goal: a full disk stops commits and nothing else; they go on by themselves when there is room.
// Method: fill a tmpfs through the store; read; enlarge it; commit; open anew; count.
test.skipIf(unsupported)(
  `a store on a disk of ${SIZE_MIB} MiB, full, still reads, and goes on when there is room`,
  async () => {
    await using small = await Tmpfs.create({ sizeMiB: SIZE_MIB })
    const directory = join(small.mountPoint, 'metadata')
    const parts = { clock: systemClock, disk: new NodeDisk(), logger: silentLogger }
    const acked: string[] = []
    {
      await using store = await LevelStore.open(parts, { directory }, never)
      acked.push(...(await fill(store, 'first')))
      expect(acked.length).toBeGreaterThan(500)
      expect(await fill(store, 'refused')).toEqual([])
      expect(await missing(store, acked)).toEqual([])
      await small.resize({ sizeMiB: SIZE_MIB * 2 })
      const again = await fill(store, 'second')
      expect(again.length).toBeGreaterThan(500)
      acked.push(...again)
      expect(await missing(store, acked)).toEqual([])
      await small.resize({ sizeMiB: SIZE_MIB * 4 })
    }
    await using store = await LevelStore.open(parts, { directory }, never)
    expect(await missing(store, acked)).toEqual([])
    await store.commit({ puts: [{ key: 'last', value: new Uint8Array(1) }] }, never)
  },
)
