import { join } from 'node:path'
import { expect, test } from 'vitest'
import { CrashDriver, countAcks, verifyPromises } from '../support/crash-driver.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

/** `npm run repair:all` takes more. */
const CYCLES = process.env['HAYLOFT_REPAIR_LANE'] === 'all' ? 100 : 20
const VOLUMES = 100
const NEEDLES = 1000

interface OpeningTime {
  readonly ms: number
  readonly volumes: number
  readonly needles: number
}

// Goal: a process that dies at any moment takes nothing acknowledged with it.
// Method: kill -9 while writers, vacuums, seals and removals run; open again; compare with the
// ledger. The page cache survives, so this says nothing about syncs: see power-cut.test.ts.
test(`kill -9 at ${CYCLES} random moments loses nothing that was acknowledged`, async () => {
  await using temp = await openTempDirectory()
  const directory = join(temp.path, 'data')
  const ledger = join(temp.path, 'ledger')
  const prng = new Prng(1)
  const violations: string[] = []
  const sum = { needles: 0, tailNeedles: 0, cutBytes: 0 }
  for (let cycle = 1; cycle <= CYCLES; cycle++) {
    const options = { seed: cycle, writers: 8 }
    await using driver = CrashDriver.start({ command: 'write', directory, ledger, options })
    await driver.line(/^writing$/)
    await pause(prng.between(5, 250))
    await driver.kill()
    const verdict = await verifyPromises(directory, ledger)
    violations.push(...driver.surprises)
    violations.push(...verdict.violations.map((what) => `cycle ${cycle}: ${what}`))
    sum.needles += verdict.needles
    sum.tailNeedles += verdict.tailNeedles
    sum.cutBytes += verdict.cutBytes
  }
  const acked = await countAcks(ledger)
  console.log(
    `kill: ${CYCLES} cycles, ${acked} acked, ${sum.needles} needles checked, ` +
      `${sum.tailNeedles} found behind the watermark, ${sum.cutBytes} torn bytes cut; ` +
      `${violations.length} violations`,
  )
  expect(violations).toEqual([])
  expect(acked).toBeGreaterThan(CYCLES * 20)
})

test(`${VOLUMES} volumes of ${NEEDLES} needles open after a close and after a kill`, async () => {
  const lines: string[] = []
  for (const isClosed of [true, false]) {
    await using temp = await openTempDirectory()
    const places = { directory: join(temp.path, 'data'), ledger: join(temp.path, 'ledger') }
    const options = { volumes: VOLUMES, needles: NEEDLES, isClosed }
    await CrashDriver.run({ ...places, command: 'fill-volumes', options })
    const opened = await CrashDriver.run<OpeningTime>({ ...places, command: 'open' })
    expect(opened).toMatchObject({ volumes: VOLUMES, needles: VOLUMES * NEEDLES })
    lines.push(`${opened.ms} ms after a ${isClosed ? 'close' : 'kill'}`)
  }
  console.log(`restart: ${VOLUMES} volumes x ${NEEDLES} needles in ${lines.join(', ')}`)
})

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
