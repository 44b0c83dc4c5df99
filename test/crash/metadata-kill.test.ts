import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { LevelStore } from '../../src/metadata/level/level-store.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const never = new AbortController().signal
const WRITER = fileURLToPath(new URL('metadata-writer.mjs', import.meta.url))
const DIST = fileURLToPath(new URL('../../dist', import.meta.url))

/** The keys acknowledged before the process died; it is killed after `count` of them. */
async function writeUntilKilled(
  directory: string,
  prefix: string,
  count: number,
): Promise<readonly string[]> {
  const writer = spawn(process.execPath, [WRITER, DIST, directory, prefix], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const acked: string[] = []
  try {
    const exited = once(writer, 'exit')
    for await (const line of createInterface({ input: writer.stdout })) {
      acked.push(line)
      if (acked.length === count) writer.kill('SIGKILL')
    }
    await exited
  } finally {
    writer.kill('SIGKILL')
  }
  return acked
}

// Goal: a killed process loses no row it acknowledged, and leaves no batch half done.
// Method: 16 writers commit pairs of rows; SIGKILL; open again in this process; four times over.
test.each([1, 2, 3])('every acknowledged commit survives kill -9 (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  await using directory = await openTempDirectory()
  const acked: string[] = []
  for (let round = 0; round < 4; round++) {
    const count = prng.between(1, 3000)
    acked.push(...(await writeUntilKilled(directory.path, `r${round}`, count)))
    expect(acked.length).toBeGreaterThanOrEqual(count)
    const parts = { clock: systemClock, disk: new NodeDisk(), logger: silentLogger }
    await using store = await LevelStore.open(parts, { directory: directory.path }, never)
    const found = new Map<string, string>()
    for await (const { key, value } of store.scan({}, never)) {
      found.set(key, Buffer.from(value).toString())
    }
    for (const key of acked) expect(found.get(key), key).toBe(key)
    for (const key of found.keys()) {
      expect(found.has(key.endsWith('a') ? key.replace(/a$/, 'b') : key.replace(/b$/, 'a'))).toBe(
        true,
      )
    }
  }
})
