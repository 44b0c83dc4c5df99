import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ClusterHealth } from '../../src/net/jobs-api.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { Ledger, MixedLoad } from '../support/mixed-load.ts'
import { skipLoudly } from '../support/mounts.ts'
import { Prng } from '../support/prng.ts'
import { copyRealTree } from '../support/real-tree.ts'
import { flipBytes, RepairCluster, readTree, storeFiles } from '../support/repair-cluster.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { Tmpfs } from '../support/tmpfs.ts'

/** `npm run repair:all` takes more, and kills every server. */
const IS_ALL = process.env['HAYLOFT_REPAIR_LANE'] === 'all'
const FILES = IS_ALL ? 20_000 : 3_000
const FLIPS = IS_ALL ? 1000 : 250
/** The numbers of the servers to be killed, one after the other. */
const KILLED = IS_ALL ? [0, 1, 2, 3, 4, 5] : [1]
const SERVERS = 6
const COPIES = 3
const MIB = 2 ** 20
/** So that a lost server is given up in seconds, and everything is looked at all the time. */
const MASTER_FLAGS = [
  '--replication',
  '110',
  '--volume-size',
  '16MiB',
  '--repair-delay',
  '3s',
  '--check',
  '500ms',
  '--workers',
  '4',
]
const REPAIRED_MS_MAX = 180_000
const WRITE_GAP_MS_MAX = 10_000
const NEVER = new AbortController().signal

/**
 * One cluster for all faults, one after the other: each starts from what the one before left, and
 * everything that was ever acknowledged is checked at the end of each.
 */
describe('six servers with three copies, under load', () => {
  let cluster: RepairCluster
  let owned: DisposeStack
  /** One for each server, so that any of them can be filled. */
  const disks: Tmpfs[] = []
  const ledger = new Ledger()
  const unsupported = Tmpfs.supported()

  beforeAll(async () => {
    owned = new DisposeStack()
    const directory = owned.use(await openTempDirectory())
    for (let index = 0; unsupported === undefined && index < SERVERS; index++) {
      disks.push(owned.use(await Tmpfs.create({ sizeMiB: 1024 })))
    }
    cluster = owned.use(
      await RepairCluster.start({
        directory: directory.path,
        masterFlags: MASTER_FLAGS,
        volumeFlags: ['--volume-size', '16MiB'],
        volumeDirectory: (index) => {
          const disk = disks[index]
          return disk && join(disk.mountPoint, 'volumes')
        },
      }),
    )
    const tree = join(directory.path, 'tree')
    expect(await copyRealTree(tree, FILES)).toBe(FILES)
    const startedMs = Date.now()
    await storeFiles(cluster.client, await readTree(tree), ledger)
    console.log(`${ledger.live.size} real files stored, ${Date.now() - startedMs} ms`)
    await cluster.waitHealth('green', (now) => now.isFullyRedundant, 60_000)
  }, 600_000)

  afterAll(async () => {
    await owned?.[Symbol.asyncDispose]()
  })

  function startLoad(seed: number): MixedLoad {
    return new MixedLoad(cluster.client, ledger, { seed })
  }

  /**
   * After a fault, with the load stopped: all copies alike, all bytes right, nothing back. Digests
   * are told of volumes that nobody has written to for a while: the files are read meanwhile.
   */
  async function expectAllRight(): Promise<void> {
    const isRepaired = (now: ClusterHealth): boolean =>
      now.isFullyRedundant && now.dirtyNeedles === 0
    await cluster.waitHealth('green', isRepaired, REPAIRED_MS_MAX)
    expect(await cluster.wrongCopies(ledger)).toEqual([])
    expect(await cluster.resurrected(ledger)).toEqual([])
    expect(await cluster.unlikeVolumes(COPIES)).toEqual([])
  }

  test.each(KILLED)(
    'kill -9 of server %i: reads go on, redundancy and server come back',
    async (killed) => {
      const load = startLoad(1 + 10 * killed)
      await sleep(2000)
      load.resetGap()
      await cluster.server(killed).kill()
      const { noticedMs, repairedMs } = await cluster.waitRepaired(REPAIRED_MS_MAX)
      await sleep(2000)
      const during = load.summary
      expect(load.longestWriteGapMs).toBeLessThan(WRITE_GAP_MS_MAX)
      // What it still has was given up meanwhile: nothing of it counts when it comes back.
      await cluster.server(killed).restart()
      await sleep(3000)
      await load.stop()
      console.log(
        `killed: noticed ${noticedMs} ms, repaired after ${repairedMs} ms more; ${during}`,
      )
      expect(load.readFailures).toEqual([])
      await expectAllRight()
    },
    600_000,
  )

  test('a disk wiped: its server fills up again', async () => {
    const load = startLoad(2)
    await sleep(1000)
    const server = cluster.server(2)
    await server.kill()
    await rm(cluster.directoryOf(2), { recursive: true })
    load.resetGap()
    await server.restart()
    const { noticedMs, repairedMs } = await cluster.waitRepaired(REPAIRED_MS_MAX)
    await load.stop()
    console.log(
      `wiped: noticed ${noticedMs} ms, repaired after ${repairedMs} ms more; ${load.summary}`,
    )
    expect(load.readFailures).toEqual([])
    expect(load.longestWriteGapMs).toBeLessThan(WRITE_GAP_MS_MAX)
    await expectAllRight()
  }, 600_000)

  test(`${FLIPS} flipped bytes: scrubs find and heal them all, no wrong byte is read`, async () => {
    // All copies are alike: what was before has ended with that, and nothing was written since.
    const directories = [0, 1, 2, 3, 4, 5].map((index) => cluster.directoryOf(index))
    const flips = await flipBytes(directories, FLIPS, new Prng(3))
    const during = startLoad(4)
    const ids = await cluster.jobs.listVolumes(undefined, NEVER)
    const scrub = async (volumeId: (typeof ids)[number]): Promise<string> => {
      const request = { kind: 'scrub', target: { volumeId }, reason: 'test' } as const
      return (await cluster.runJob(request)).summary
    }
    const startedMs = Date.now()
    const summaries = await Promise.all(ids.map(scrub))
    const healedMs = Date.now() - startedMs
    await during.stop()
    console.log(`${FLIPS} flips: ${ids.length} scrubs, ${healedMs} ms; ${during.summary}`)
    const found = summaries.reduce((sum, text) => sum + Number(/(\d+) damages/.exec(text)?.[1]), 0)
    console.log(`${found} needles and blocks found in ${flips.length} flips`)
    expect(during.readFailures).toEqual([])
    await expectAllRight()
    // Every place that was flipped lies in a file that was renewed: nothing is found any more.
    const again = await Promise.all(ids.map(scrub))
    expect(again.filter((summary) => !summary.endsWith(' 0 damages found'))).toEqual([])
    expect(new Set(flips.map(({ path }) => path)).size).toBeGreaterThan(6)
  }, 600_000)

  test.skipIf(skipLoudly('a full disk', unsupported))(
    'a full disk: reads and deletes go on, writes go elsewhere; it heals when there is room',
    async () => {
      const [disk] = disks
      if (disk === undefined) throw new Error('no disk of its own')
      const load = startLoad(5)
      await sleep(1000)
      load.resetGap()
      const deletesBefore = load.deleteCount
      const filler = join(disk.mountPoint, 'filler')
      await fill(disk.mountPoint, filler)
      await sleep(10_000)
      expect(load.longestWriteGapMs).toBeLessThan(WRITE_GAP_MS_MAX)
      expect(load.deleteCount).toBeGreaterThan(deletesBefore + 20)
      await rm(filler)
      await sleep(3000)
      await load.stop()
      console.log(`full disk: ${load.summary}`)
      expect(load.readFailures).toEqual([])
      await expectAllRight()
    },
    600_000,
  )
})

/** Until nothing more fits. */
async function fill(mountPoint: string, path: string): Promise<void> {
  const { bavail, bsize } = await statfs(mountPoint)
  const piece = Buffer.alloc(MIB)
  for (let left = bavail * bsize; ; left -= piece.length) {
    try {
      await writeFile(path, piece, { flag: 'a' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return
      throw error
    }
    if (left < -64 * MIB) throw new Error('it does not fill up')
  }
}
