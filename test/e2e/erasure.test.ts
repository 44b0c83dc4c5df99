import { rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ErasureScheme } from '../../src/base/erasure-scheme.ts'
import { CodedCluster, digestOfFile, flipShards } from '../support/coded-cluster.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

type TempDirectory = Awaited<ReturnType<typeof openTempDirectory>>

/** `npm run erasure:all` takes more of everything. */
const IS_ALL = process.env['HAYLOFT_ERASURE_LANE'] === 'all'
const FILES = IS_ALL ? 2_000 : 200
const NEVER = new AbortController().signal
const RS_4_2 = { dataShards: 4, parityShards: 2 }
const RS_2_1 = { dataShards: 2, parityShards: 1 }
const RS_10_4 = { dataShards: 10, parityShards: 4 }
const VOLUME_FLAGS = ['--volume-size', '16MiB', '--read-mode', 'local']
/** Nothing is made anew by itself unless a test asks for it. */
const QUIET = ['--repair-delay', '1h', '--volume-size', '16MiB', '--garbage-threshold', '1']
const EAGER = ['--repair-delay', '3s', '--check', '500ms', '--garbage-threshold', '1']

describe('six servers in three racks, RS(4,2)', () => {
  let directory: TempDirectory
  let coded: CodedCluster
  const prng = new Prng(42)

  beforeAll(async () => {
    directory = await openTempDirectory()
    const servers = Array.from({ length: 6 }, (_, index) => ({ rack: `rack${(index % 3) + 1}` }))
    const masterFlags = [...QUIET, '--check', '500ms', '--workers', '2']
    const options = { directory: directory.path, servers, masterFlags, volumeFlags: VOLUME_FLAGS }
    coded = await CodedCluster.start(options, FILES)
    await coded.encodeAll(RS_4_2)
    await coded.waitWhole()
  }, 600_000)

  afterAll(async () => {
    await coded?.[Symbol.asyncDispose]()
    await directory?.[Symbol.asyncDispose]()
  })

  test('each server has one shard of each volume, and answers for all of it', async () => {
    for (const volumeId of coded.volumeIds()) {
      const { shards } = await coded.stripeOf(volumeId)
      expect(new Set(shards.map(({ location }) => location.url)).size).toBe(6)
    }
    expect(await coded.wrongFiles(prng)).toEqual([])
  })

  test('any two servers away: every file is byte-identical', async () => {
    const pairs = [0, 1, 2, 3, 4, 5].flatMap((a) =>
      [0, 1, 2, 3, 4, 5].filter((b) => b > a).map((b) => [a, b] as const),
    )
    expect(pairs.length).toBe(15)
    for (const pair of IS_ALL ? pairs : pairs.slice(0, 2)) {
      await coded.without(pair, async () => {
        expect(await coded.wrongFiles(prng), `without ${pair.join(' and ')}`).toEqual([])
      })
    }
  }, 900_000)

  test('flipped bits are never returned, and a scrub heals them', async () => {
    const files = await coded.shardFiles()
    const before = new Map<string, string>()
    for (const { path } of files) before.set(path, await digestOfFile(path))
    // Of two servers: more could make a stripe unreadable.
    const hit = files.filter(({ server }) => server < 2)
    await flipShards(hit, 3, prng)
    for (let round = 0; round < 3; round++) expect(await coded.wrongFiles(prng)).toEqual([])
    await coded.runEach('scrub')
    await coded.waitWhole()
    for (const { path } of files) expect(await digestOfFile(path), path).toBe(before.get(path))
  }, 300_000)

  test('deletes reach every holder, and stay deleted through a vacuum', async () => {
    await coded.deleteFiles(someOf([...coded.ledger.live.keys()], prng))
    expect(await coded.cluster.resurrected(coded.ledger)).toEqual([])
    await coded.runEach('ec-vacuum')
    await coded.waitWhole()
    expect(await coded.cluster.resurrected(coded.ledger)).toEqual([])
    expect(await coded.wrongFiles(prng)).toEqual([])
  }, 300_000)

  test('decoded volumes are as they were, deletes included', async () => {
    await coded.runEach('ec-decode')
    for (const volumeId of coded.volumeIds()) {
      const facts = await coded.cluster.jobs.volumeFacts(volumeId, NEVER)
      expect([facts.stripe, facts.members.length]).toEqual([undefined, 1])
    }
    expect(await coded.wrongFiles(prng)).toEqual([])
    expect(await coded.cluster.resurrected(coded.ledger)).toEqual([])
    expect(await coded.shardFiles()).toEqual([])
  }, 300_000)
})

const CLUSTERS: readonly [servers: number, scheme: ErasureScheme, lost: number][] = [
  [3, RS_2_1, 1],
  [14, RS_10_4, 4],
]

describe.each(IS_ALL ? CLUSTERS : CLUSTERS.slice(0, 1))(
  '%i servers, one wiped',
  (count, scheme, lost) => {
    let directory: TempDirectory
    let coded: CodedCluster
    const prng = new Prng(count)

    beforeAll(async () => {
      directory = await openTempDirectory()
      const servers = Array.from({ length: count }, (_, index) => ({
        'data-center': `dc${(index % 4) + 1}`,
      }))
      const masterFlags = [...EAGER, '--workers', '2']
      const volumeFlags = ['--read-mode', 'local']
      const options = { directory: directory.path, servers, masterFlags, volumeFlags }
      coded = await CodedCluster.start(options, Math.floor(FILES / 2))
      await coded.encodeAll(scheme)
      await coded.waitWhole()
    }, 600_000)

    afterAll(async () => {
      await coded?.[Symbol.asyncDispose]()
      await directory?.[Symbol.asyncDispose]()
    })

    test('as many away as parity shards: every file is byte-identical', async () => {
      const servers = Array.from({ length: lost }, (_, index) => index)
      await coded.without(servers, async () => {
        expect(await coded.wrongFiles(prng)).toEqual([])
      })
      await coded.waitWhole()
    }, 300_000)

    test('what a vacuum gives back after 60 % were deleted', async () => {
      if (count > 3) return // The rows of a wide stripe are large beside such volumes.
      const bulk = await coded.storeBulk(IS_ALL ? 6_000 : 2_000, 40 * 1024, scheme)
      const before = await coded.storedBytes()
      await coded.deleteFiles(someOf(bulk.fileIds, prng))
      await coded.runEach('ec-vacuum', bulk.volumeIds)
      await coded.waitWhole()
      const freed = before - (await coded.storedBytes())
      const share = freed / bulk.codedBytes
      console.log(`a vacuum gave back ${(share * 100).toFixed(1)} % of ${bulk.codedBytes} bytes`)
      expect(share).toBeGreaterThanOrEqual(0.55)
      expect(await coded.wrongFiles(prng)).toEqual([])
    }, 300_000)

    test('shards of a wiped disk are made anew, byte for byte', async () => {
      const digests = new Map<string, string>()
      for (const { path } of await coded.shardFiles()) {
        digests.set(nameOf(path), await digestOfFile(path))
      }
      const server = coded.cluster.server(1)
      await server.kill()
      await rm(coded.cluster.directoryOf(1), { recursive: true })
      await server.restart()
      await sleep(1000)
      await coded.waitWhole()
      const files = await coded.shardFiles()
      expect(files.length).toBe(digests.size)
      for (const { path } of files) {
        expect(await digestOfFile(path), path).toBe(digests.get(nameOf(path)))
      }
      expect(await coded.wrongFiles(prng)).toEqual([])
    }, 300_000)
  },
)

/** 60 % of all, from everywhere: no volume becomes empty. */
function someOf(fileIds: readonly string[], prng: Prng): readonly string[] {
  const left = [...fileIds]
  const count = Math.floor(left.length * 0.6)
  return Array.from({ length: count }, () => left.splice(prng.below(left.length), 1)[0] ?? '')
}

/** The run and the shard, whichever server has it. */
function nameOf(path: string): string {
  return `${basename(dirname(path))}/${basename(path)}`
}
