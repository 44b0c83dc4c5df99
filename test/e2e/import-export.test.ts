import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeTree } from '../support/file-tree.ts'
import { copyRealTree } from '../support/real-tree.ts'
import { ClusterProcesses, freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
/** `npm run repair:all` takes more. */
const FILES = process.env['HAYLOFT_REPAIR_LANE'] === 'all' ? 20_500 : 4_000
const MINUTES = 60_000

const run = promisify(execFile)

async function hayloft(...args: string[]): Promise<string> {
  const { stdout, stderr } = await run(process.execPath, [MAIN, ...args], { maxBuffer: 2 ** 26 })
  return stdout + stderr
}

let directory: Awaited<ReturnType<typeof openTempDirectory>>
let tree: string
let expected: Map<string, string>

beforeAll(async () => {
  directory = await openTempDirectory()
  tree = join(directory.path, 'tree')
  await mkdir(tree)
  expect(await copyRealTree(tree, FILES)).toBe(FILES)
  expected = await describeTree(tree)
}, 3 * MINUTES)

afterAll(async () => {
  await directory[Symbol.asyncDispose]()
})

async function expectSameTree(copy: string): Promise<void> {
  const found = await describeTree(copy)
  expect(found.size).toBe(expected.size)
  const different = [...expected].filter(([path, what]) => found.get(path) !== what)
  expect(different).toEqual([])
}

describe(`a real tree of ${FILES} files`, () => {
  test(
    'goes into one server and comes out again, byte for byte',
    async () => {
      const data = join(directory.path, 'data')
      const [master = 0, volume = 0] = await freePorts(2)
      const ports = ['--port', String(master), '--volume-port', String(volume), '--s3-port', 'off']
      await using server = await ServerProcess.start({
        args: ['server', '--dir', data, ...ports],
        readyUrl: `http://127.0.0.1:${master}/readyz`,
      })
      const to = ['--master', `127.0.0.1:${master}`]
      console.log(await hayloft('import', tree, '--as', 'tree', ...to))
      // A second run finds everything there.
      console.log(await hayloft('import', tree, '--as', 'tree', ...to))
      expect(await server.stop()).toBe(0)
      await server.restart()
      const copy = join(directory.path, 'copy')
      console.log(await hayloft('export', '--names', 'tree', '--to', copy, ...to))
      await expectSameTree(copy)
      console.log(`server RSS ${Math.round(server.rssBytes() / 2 ** 20)} MiB`)
    },
    5 * MINUTES,
  )

  test(
    'survives a kill -9 of one of three volume servers while it is imported',
    async () => {
      const data = join(directory.path, 'cluster')
      await using cluster = await ClusterProcesses.start({ directory: data, volumeServers: 3 })
      const to = ['--master', cluster.masterAddress]
      const importing = hayloft('import', tree, '--as', 'tree', ...to)
      // Awaited below: until then a failure is nobody's.
      importing.catch(() => undefined)
      await sleep(1000)
      const [server] = cluster.volumes
      await server?.kill()
      await sleep(1000)
      await server?.restart()
      console.log(await importing)
      const copy = join(directory.path, 'cluster-copy')
      console.log(await hayloft('export', '--names', 'tree', '--to', copy, ...to))
      await expectSameTree(copy)
    },
    5 * MINUTES,
  )
})
