import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CrashDriver } from '../support/crash-driver.ts'
import { skipLoudly } from '../support/mounts.ts'
import { straceUnsupported } from '../support/strace.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const PUTS = 64
/** Long beside what a busy machine takes for a sync of its own. */
const DELAY_MS = 2000

const unsupported = skipLoudly('counting system calls', straceUnsupported())

describe.skipIf(unsupported)('group commit, as the kernel sees it', () => {
  test(`${PUTS} concurrent puts are one write and one fdatasync of .dat`, async () => {
    await using temp = await openTempDirectory()
    const places = { directory: join(temp.path, 'data'), ledger: join(temp.path, 'ledger') }
    await CrashDriver.run({ ...places, command: 'one-turn', options: { puts: 1 } })
    const trace = join(temp.path, 'trace')
    const calls = 'trace=pwritev,pwritev2,pwrite64,writev,write,fdatasync,fsync'
    const dat = join(places.directory, '1.dat')
    const under = ['strace', '-f', '-qq', '-y', '-o', trace, '-e', calls, '-P', dat]
    await CrashDriver.run({ ...places, command: 'one-turn', options: { puts: PUTS }, under })
    const lines = (await readFile(trace, 'utf8')).trim().split('\n')
    const made = lines.filter((line) => !line.includes('resumed>'))
    console.log(`one-writev: ${PUTS} puts: ${made.map((line) => callOf(line)).join(', ')}`)
    expect(made.map(callOf)).toEqual(['pwritev', 'fdatasync'])
  })

  test('volumes sync independently: a slow one holds up no other', async () => {
    await using temp = await openTempDirectory()
    const places = { directory: join(temp.path, 'data'), ledger: join(temp.path, 'ledger') }
    await CrashDriver.run({ ...places, command: 'two-volumes' })
    const delay = `inject=fdatasync:delay_enter=${DELAY_MS * 1000}`
    const dat = join(places.directory, '1.dat')
    const trace = ['-o', join(temp.path, 'trace'), '-e', 'trace=fdatasync', '-e', delay]
    const under = ['strace', '-f', '-qq', ...trace, '-P', dat]
    const took = await CrashDriver.run<{ readonly first: number; readonly second: number }>({
      ...places,
      command: 'two-volumes',
      under,
    })
    console.log(`one-writev: slow volume ${took.first} ms, the other ${took.second} ms`)
    expect(took.first).toBeGreaterThanOrEqual(DELAY_MS)
    expect(took.second).toBeLessThan(DELAY_MS / 2)
  })
})

/** `4711  pwritev(20</dir/1.dat>, …` is `pwritev`. */
function callOf(line: string): string {
  return /^\d+\s+(\w+)\(/.exec(line)?.[1] ?? line
}
