import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CrashDriver, countAcks, type Verdict, verifyPromises } from '../support/crash-driver.ts'
import { LoopFilesystem } from '../support/loop-device.ts'
import { skipLoudly } from '../support/mounts.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const CYCLES = 20
const CONTROL_TRIES_MAX = 5
const SIZE_MIB = 1024

const FIGURES = [
  'needles',
  'tailNeedles',
  'cutBytes',
  'lost',
  'wrong',
  'resurrected',
  'damaged',
] as const

/** Every step of each operation that changes files: the call before which the power goes. */
const PHASES: Readonly<Record<string, readonly string[]>> = {
  vacuum: [
    'open .cpx',
    'writev .cpd', // Copy.
    'datasync .cpd',
    'read .cpd', // Verify.
    'datasync .cpx',
    'datasync .cps.tmp',
    'rename .cps.tmp',
    'sync after rename .cps.tmp',
    'datasync .cpc.tmp',
    'rename .cpc.tmp', // Marker.
    'sync after rename .cpc.tmp',
    'rename .cpx', // Renames.
    'rename .cps',
    'rename .cpd',
    'unlink .failed',
    'sync after rename .cpd',
    'unlink .cpc', // Marker removal.
    'sync after unlink .cpc',
    'end',
  ],
  seal: [
    'datasync .vif.tmp',
    'rename .vif.tmp',
    'sync after rename .vif.tmp',
    'datasync .idx',
    'rename .sum.tmp',
    'end',
  ],
  create: [
    'datasync .dat.tmp',
    'rename .dat.tmp',
    'sync after rename .dat.tmp',
    'open .idx',
    'end',
  ],
  remove: [
    'rename .dat',
    'sync after rename .dat',
    'unlink .failed',
    'unlink .sum',
    'unlink .vif',
    'sync after unlink .vif',
    'unlink .removed',
    'sync after unlink .removed',
    'end',
  ],
  checkpoint: [
    'datasync .idx',
    'datasync .sum.tmp',
    'rename .sum.tmp',
    'sync after rename .sum.tmp',
    'end',
  ],
  put: ['datasync .dat', 'end'],
}

const unsupported = skipLoudly('power cuts under real writers', LoopFilesystem.supported())

// Goal: a power cut loses nothing that was acknowledged, at whatever moment it comes.
// Method: writers, vacuums, seals and removals in a process of their own on a real ext4; cut; kill;
// mount again; compare with the ledger of promises, which lies elsewhere.
describe.skipIf(unsupported)('a power cut', () => {
  test(`at ${CYCLES} random moments loses nothing that was acknowledged`, async () => {
    await using bench = await Bench.open()
    for (let cycle = 1; cycle <= CYCLES; cycle++) await bench.cycle(cycle, 'fsync')
    expect(bench.violations).toEqual([])
    bench.print(`${CYCLES} cycles`)
    expect(bench.acked).toBeGreaterThan(CYCLES * 20)
  })

  test('loses something when nothing is synced (negative control)', async () => {
    await using bench = await Bench.open()
    let tries = 0
    while (bench.violations.length === 0 && tries < CONTROL_TRIES_MAX) {
      await bench.cycle(++tries, 'none')
    }
    bench.print(`without syncs, ${tries} tries`)
    expect(bench.violations).not.toEqual([])
  })

  test.each(Object.entries(PHASES))(
    'in any phase of a %s leaves all or nothing of it',
    async (operation, phases) => {
      await using bench = await Bench.open()
      for (const stopAt of phases) await bench.phase(operation, stopAt)
      expect(bench.violations).toEqual([])
      bench.print(`${operation}: ${phases.length} phases`)
    },
  )

  test('after a kill and a restart keeps what readers have seen since', async () => {
    await using bench = await Bench.open()
    await bench.killThenCut()
    expect(bench.violations).toEqual([])
    bench.print('kill, restart, power cut')
  })
})

/** A machine, the ledger of promises beside it, and what its checks found. */
class Bench implements AsyncDisposable {
  readonly violations: string[] = []
  readonly #prng = new Prng(2)
  readonly #machine: LoopFilesystem
  readonly #outside: AsyncDisposable & { readonly path: string }
  #ledgers = 0
  readonly #sum = noFigures()
  acked = 0

  private constructor(
    machine: LoopFilesystem,
    outside: AsyncDisposable & { readonly path: string },
  ) {
    this.#machine = machine
    this.#outside = outside
  }

  static async open(): Promise<Bench> {
    const outside = await openTempDirectory()
    try {
      return new Bench(await LoopFilesystem.create({ sizeMiB: SIZE_MIB }), outside)
    } catch (error) {
      await outside[Symbol.asyncDispose]()
      throw error
    }
  }

  async cycle(seed: number, durability: string): Promise<void> {
    const { directory, ledger } = this.#places()
    const options = { seed, writers: 8, durability }
    await using driver = CrashDriver.start({ command: 'write', directory, ledger, options })
    await driver.line(/^writing$/)
    await pause(this.#prng.between(50, 400))
    await this.#machine.cutPower(driver)
    await this.#restart(driver)
    await this.#verify(`cycle ${seed}`)
    this.acked = await countAcks(ledger)
  }

  /** A directory of its own, so that no phase meets what another left. */
  async phase(operation: string, stopAt: string): Promise<void> {
    this.#ledgers++
    const { directory, ledger } = this.#places()
    const options = { operation, stopAt }
    await using driver = CrashDriver.start({ command: 'stop', directory, ledger, options })
    const line = await driver.line(/^(?:reached|missed|unexpected) /)
    expect(line).toBe(`reached ${stopAt}`)
    await this.#machine.cutPower(driver)
    await this.#restart(driver)
    await this.#verify(`${operation} at ${stopAt}`)
    this.acked += await countAcks(ledger)
  }

  /** Whoever reads after a restart may build on it: it must not vanish at the next power cut. */
  async killThenCut(): Promise<void> {
    const { directory, ledger } = this.#places()
    const options = { operation: 'put', stopAt: 'datasync .dat' }
    await using driver = CrashDriver.start({ command: 'stop', directory, ledger, options })
    await driver.line(/^reached /)
    await driver.kill()
    await this.#verify('after the kill')
    await this.#machine.cutPower()
    await this.#machine.remount()
    await this.#verify('after the power cut')
    this.acked += await countAcks(ledger)
  }

  print(what: string): void {
    const { needles, tailNeedles, cutBytes, lost, wrong, resurrected, damaged } = this.#sum
    console.log(
      `power-cut: ${what}, ${this.acked} acked, ${needles} needles checked, ` +
        `${tailNeedles} found behind the watermark, ${cutBytes} torn bytes cut; ` +
        `${lost} lost, ${wrong} wrong, ${resurrected} resurrected, ${damaged} damaged`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine[Symbol.asyncDispose]()
    await this.#outside[Symbol.asyncDispose]()
  }

  #places(): { directory: string; ledger: string } {
    return {
      directory: join(this.#machine.mountPoint, `data-${this.#ledgers}`),
      ledger: join(this.#outside.path, `ledger-${this.#ledgers}`),
    }
  }

  async #restart(driver: CrashDriver): Promise<void> {
    await driver.kill()
    this.violations.push(...driver.surprises)
    await this.#machine.remount()
  }

  async #verify(when: string): Promise<void> {
    const { directory, ledger } = this.#places()
    const verdict: Verdict = await verifyPromises(directory, ledger)
    this.violations.push(...verdict.violations.map((what) => `${when}: ${what}`))
    for (const figure of FIGURES) this.#sum[figure] += verdict[figure]
  }
}

function noFigures(): Record<(typeof FIGURES)[number], number> {
  return {
    needles: 0,
    tailNeedles: 0,
    cutBytes: 0,
    lost: 0,
    wrong: 0,
    resurrected: 0,
    damaged: 0,
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
