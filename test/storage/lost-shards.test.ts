import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MIB } from '../../src/base/units.ts'
import { readCodedNeedle } from '../../src/erasure/coded-needles.ts'
import { RebuildPool } from '../../src/erasure/rebuild-pool.ts'
import { rebuildShards } from '../../src/erasure/rebuild-shards.ts'
import { type SlicedSource, StripeReader } from '../../src/erasure/stripe-reader.ts'
import type { ShardSet } from '../../src/storage/shard-set.ts'
import { encodeHere, shardOf } from '../support/coded-store.ts'
import { Prng } from '../support/prng.ts'
import { REPOSITORY } from '../support/source-files.ts'
import { TestStore } from '../support/test-store.ts'
import { memorySource } from '../support/test-stripe.ts'
import { SIGNAL, toId } from '../support/volume-model.ts'

const RUN = {
  runId: '1700000000000000001',
  dataShards: 10,
  parityShards: 4,
  largeBlockBytes: 1024 * MIB,
  smallBlockBytes: MIB,
}
/** `npm run erasure:all` takes more. */
const SETS = process.env['HAYLOFT_ERASURE_LANE'] === 'all' ? 200 : 100
const SETS_A_TEST = 25
/** Two rows of blocks, so that most shards hold several files. */
const VOLUME_BYTES = 14 * MIB
const READ_EACH = 15

/** Files that people really have: the programs this one is built on. */
function* realFiles(directory: string): Generator<Buffer> {
  for (const name of readdirSync(directory).sort()) {
    const path = join(directory, name)
    const found = statSync(path)
    if (found.isDirectory()) yield* realFiles(path)
    else if (found.size > 0 && found.size < MIB) yield readFileSync(path)
  }
}

/** Goal: RS(10,4) gives back everything, whichever four shards are lost. */
describe('a volume of real files, coded as 10+4, without four of its shards', () => {
  let store: TestStore
  let set: ShardSet
  const files = new Map<number, Buffer>()
  const shards: Buffer[] = []

  beforeAll(async () => {
    store = new TestStore()
    await store.open()
    const volume = await store.createVolume(7)
    let bytes = 0
    for (const data of realFiles(`${REPOSITORY}node_modules`)) {
      if (bytes > VOLUME_BYTES) break
      const needle = files.size + 1
      await volume.put({ id: toId(needle), cookie: 1, data, attributes: {} }, SIGNAL)
      files.set(needle, data)
      bytes += data.length
    }
    const [first] = (await encodeHere(store.store, 7, RUN)).sets
    if (first === undefined) throw new Error('there is a set')
    set = first
    for (const shard of set.shards) shards.push(await shardOf(set, shard))
  })

  afterAll(async () => {
    await store?.[Symbol.asyncDispose]()
  })

  function sourceOf(shard: number): SlicedSource {
    const bytes = shards[shard]
    if (bytes === undefined) throw new Error(`no shard ${shard}`)
    return memorySource(shard, async () => bytes)
  }

  async function expectReadable(lost: ReadonlySet<number>, prng: Prng): Promise<void> {
    const remote = (shard: number) => (lost.has(shard) ? undefined : sourceOf(shard))
    const reader = new StripeReader({
      geometry: set.geometry,
      codec: () => set.codec(),
      checksums: set.checksums,
      sources: { local: () => undefined, remote },
      onBad: (shard) => expect.fail(`shard ${shard} is not bad`),
      clock: store.clock,
      pool: new RebuildPool(),
    })
    for (let count = 0; count < READ_EACH; count++) {
      const needle = 1 + prng.below(files.size)
      const request = { id: toId(needle), cookie: 1 }
      const found = await readCodedNeedle(reader, set.index, request, 8 * MIB, SIGNAL)
      const isSame = 'data' in found && files.get(needle)?.equals(found.data)
      expect([needle, isSame]).toEqual([needle, true])
    }
  }

  async function expectRebuilt(lost: ReadonlySet<number>): Promise<void> {
    const made = new Map([...lost].map((shard) => [shard, [] as Buffer[]] as const))
    const sinks = new Map(
      [...made].map(([shard, pieces]) => {
        const write = async (bytes: Buffer) => void pieces.push(Buffer.from(bytes))
        return [shard, { write }] as const
      }),
    )
    const { shardBytes } = set.geometry
    const { blockBytes, shards: checksums } = set.checksums
    const shape = { codec: set.codec(), shardBytes, blockBytes, checksums }
    const sources = set.shards.filter((shard) => !lost.has(shard)).map(sourceOf)
    await rebuildShards(shape, sources, sinks, {}, SIGNAL)
    for (const [shard, pieces] of made) {
      const isSame = shards[shard]?.equals(Buffer.concat(pieces))
      expect([shard, isSame]).toEqual([shard, true])
    }
  }

  // Sets of four, in parts: every shard is lost in some.
  test.each(Array.from({ length: SETS / SETS_A_TEST }, (_, part) => part))(
    'every file read, and every shard made anew, is byte-identical (part %d)',
    async (part) => {
      const prng = new Prng(part + 1)
      const seen = new Set<number>()
      for (let count = 0; count < SETS_A_TEST; count++) {
        const lost = new Set<number>()
        while (lost.size < RUN.parityShards) lost.add(prng.below(shards.length))
        await expectReadable(lost, prng)
        await expectRebuilt(lost)
        for (const shard of lost) seen.add(shard)
      }
      expect(seen.size).toBe(shards.length)
    },
  )
})
