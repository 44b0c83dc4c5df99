import { join } from 'node:path'
import { expect, test } from 'vitest'
import { CrashDriver, verifyPromises } from '../support/crash-driver.ts'
import { skipLoudly } from '../support/mounts.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { Tmpfs } from '../support/tmpfs.ts'

const SIZE_MIB = 64
const MIB = 2 ** 20

interface FullDiskReport {
  readonly acked: number
  readonly full: { readonly puts: number; readonly refusals: readonly string[] }
  readonly readsWhenFull: number
  readonly deletes: number
  readonly vacuumedBytes: number
  readonly again: { readonly puts: number; readonly refusals: readonly string[] }
  readonly foreign: {
    readonly freeBlocks: number
    readonly put: string
    readonly deletes: number
    readonly readable: number
    readonly putAfter: string
  }
}

const unsupported = skipLoudly('a full disk under a real store', Tmpfs.supported())

// Goal: a full disk refuses puts and nothing else, and heals when space returns.
// Method: fill a tmpfs through the store up to its reserve, then by a file of another program up to
// the last byte; with the usual reserve, and with none, where the disk itself says that it is full.
test.skipIf(unsupported).each([
  ['a reserve of 4 MiB', 4 * MIB],
  ['no reserve', 0],
])(
  `a disk of ${SIZE_MIB} MiB with %s, full, still reads, deletes and vacuums`,
  async (what, reserveBytes) => {
    await using small = await Tmpfs.create({ sizeMiB: SIZE_MIB })
    await using outside = await openTempDirectory()
    const directory = join(small.mountPoint, 'data')
    const ledger = join(outside.path, 'ledger')
    const options = { reserveBytes, ballastBytes: MIB }
    const call = { command: 'full-disk', directory, ledger, options }
    const report = await CrashDriver.run<FullDiskReport>(call)
    const { full, again, foreign } = report
    expect(full.refusals).toEqual(['DISK_FULL'])
    expect(full.puts).toBeGreaterThan(5000)
    expect(report.readsWhenFull).toBe(full.puts)
    expect(report.deletes).toBeGreaterThan(full.puts / 2)
    expect(report.vacuumedBytes).toBeGreaterThan((SIZE_MIB / 2) * MIB)
    expect(again.refusals).toEqual(['DISK_FULL'])
    expect(again.puts).toBeGreaterThan(full.puts / 2)
    expect(foreign).toMatchObject({ freeBlocks: 0, put: 'DISK_FULL', putAfter: 'stored' })
    expect(foreign.deletes).toBeGreaterThan(1000)
    const verdict = await verifyPromises(directory, ledger)
    expect(verdict.violations).toEqual([])
    console.log(
      `full-disk: ${what}: ${full.puts} puts until ${full.refusals}, ${report.deletes} deletes, ` +
        `${(report.vacuumedBytes / MIB).toFixed(1)} MiB vacuumed, ${again.puts} more puts; ` +
        `${foreign.deletes} deletes with 0 blocks free; ${verdict.lost} lost of ${verdict.needles}`,
    )
  },
)
