import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CrashDriver, verifyPromises } from '../support/crash-driver.ts'
import { LoopFilesystem } from '../support/loop-device.ts'
import { skipLoudly } from '../support/mounts.ts'
import { straceUnsupported } from '../support/strace.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { Tmpfs } from '../support/tmpfs.ts'

interface FailureReport {
  readonly acked: number
  readonly ackedAfter: number
  readonly failure: string | undefined
  readonly state: string
  readonly refusals: readonly string[]
  readonly reads: { readonly right: number; readonly failed: number }
}

const FAILED = { states: { 1: ['failed'] } }

const noStrace = skipLoudly('syncs that fail by injection', straceUnsupported())
const noLoop = skipLoudly('syncs that fail for real', LoopFilesystem.supported())

// Goal: after a sync that failed nothing more is acknowledged on that volume, and it is never tried
// again: the kernel may have dropped the bytes, and the next sync would call that a success.
describe.skipIf(noStrace)('fdatasync of .dat fails with EIO', () => {
  test.each([1, 2, 5, 20, 60])('at call %d: no ack after it, no second try', async (call) => {
    await using temp = await openTempDirectory()
    const places = { directory: join(temp.path, 'data'), ledger: join(temp.path, 'ledger') }
    await CrashDriver.run({ ...places, command: 'one-turn', options: { puts: 8 } })
    const trace = join(temp.path, 'trace')
    const inject = ['-e', 'trace=fdatasync', '-e', `inject=fdatasync:error=EIO:when=${call}`]
    const dat = join(places.directory, '1.dat')
    const report = await CrashDriver.run<FailureReport>({
      ...places,
      command: 'sync-failure',
      options: { putsMax: 1000 },
      under: ['strace', '-f', '-qq', '-y', '-o', trace, ...inject, '-P', dat],
      // strace counts calls per thread, so there must be only one.
      env: { UV_THREADPOOL_SIZE: '1' },
    })
    expect(report).toMatchObject({
      failure: 'VOLUME_FAILED',
      state: 'failed',
      refusals: ['VOLUME_FAILED'],
      ackedAfter: 0,
      reads: { failed: 0 },
    })
    const synced = (await readFile(trace, 'utf8')).split('\n').filter((line) => line !== '')
    const failedAt = synced.findIndex((line) => line.includes('EIO'))
    expect(failedAt).toBeGreaterThanOrEqual(0)
    expect(synced.slice(failedAt + 1)).toEqual([])

    const restarted = await verifyPromises(places.directory, places.ledger, FAILED)
    expect(restarted.violations).toEqual([])
    const healing = { ...places, command: 'heal' }
    const healed = await CrashDriver.run<{ readonly state: string }>(healing)
    expect(healed.state).toBe('writable')
    const verdict = await verifyPromises(places.directory, places.ledger)
    expect(verdict.violations).toEqual([])
    console.log(
      `sync-failure: EIO at call ${call}: ${report.acked} acked before, ${report.ackedAfter} ` +
        `after, ${report.reads.right} read, 0 syncs tried again, healed by a vacuum, 0 lost`,
    )
  })
})

describe.skipIf(noLoop)('fdatasync fails for real on a disk that promised too much', () => {
  test('no ack after it, and everything acked before is on the disk', async () => {
    await using outside = await openTempDirectory()
    await using small = await Tmpfs.create({ sizeMiB: 24 })
    await using machine = await LoopFilesystem.create({
      sizeMiB: 128,
      blockBytes: 4096,
      imageDirectory: small.mountPoint,
    })
    const directory = join(machine.mountPoint, 'data')
    const ledger = join(outside.path, 'ledger')
    const options = { putsMax: 20_000 }
    const call = { command: 'sync-failure', directory, ledger, options }
    const report = await CrashDriver.run<FailureReport>(call)
    expect(report).toMatchObject({ state: 'failed', ackedAfter: 0, refusals: ['VOLUME_FAILED'] })
    // More room for the image, as when a thin pool is extended; then the machine comes up again.
    await small.resize({ sizeMiB: 256 })
    await machine.remount()
    const verdict = await verifyPromises(directory, ledger, {
      states: { 1: ['failed', 'writable'] },
    })
    console.log(
      `sync-failure: overcommitted disk: ${report.failure}, ${report.acked} acked before, ` +
        `${report.ackedAfter} after; after the restart ${verdict.lost} lost, ` +
        `${verdict.wrong} wrong, ${verdict.damaged} damaged`,
    )
    expect(verdict.violations).toEqual([])
  })
})
