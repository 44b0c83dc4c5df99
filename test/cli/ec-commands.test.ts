import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { type RunningServer, startServer } from '../../src/server/start-server.ts'
import { type CliRun, type CliRunOptions, runCli } from '../support/cli-run.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const FILES = 12

let temp: Awaited<ReturnType<typeof openTempDirectory>>
let server: RunningServer
let env: Readonly<Record<string, string>>

beforeAll(async () => {
  temp = await openTempDirectory()
  const dir = join(temp.path, 'data')
  const ports = { port: 0, volumePort: 0 }
  server = await startServer({ dir, ...ports, volumeServers: 3, volumeSize: '64MiB' })
  const port = server.masterGrpcAddress.slice(server.masterGrpcAddress.lastIndexOf(':') + 1)
  const master = `${server.masterUrl.replace('http://', '')}.${port}`
  env = { HAYLOFT_MASTER: master, HAYLOFT_SECRET_FILE: server.secretFile }
})

afterAll(async () => {
  await server?.close()
  await temp[Symbol.asyncDispose]()
})

/** Against the cluster of this file, with its secret. */
function hayloft(args: readonly string[], options: CliRunOptions = {}): Promise<CliRun> {
  return runCli(args, new NodeDisk(), { isRealTime: true, ...options, env })
}

function run(kind: string, volumeId: string, ...more: readonly string[]): Promise<CliRun> {
  return hayloft(['job', 'run', kind, '--volume', volumeId, ...more, '--watch'])
}

async function get(fileId: string): Promise<string> {
  const { exitCode, out, err } = await hayloft(['get', fileId])
  return exitCode === 0 ? out : err
}

test('a volume is coded, looked at, read, deleted from, coded anew, and made copies of again', async () => {
  const ids: string[] = []
  for (let index = 0; index < FILES; index++) {
    const put = await hayloft(['put', '-', '--collection', 'old'], { input: `file ${index}` })
    ids.push(put.out.trim())
  }
  const [volumeId = ''] = ids[0]?.split(',') ?? []
  const files = ids.flatMap((id, index) => (id.startsWith(`${volumeId},`) ? [{ id, index }] : []))
  const [doomed, ...others] = files

  const encoded = await run('ec-encode', volumeId, '--erasure', '2+1')
  expect(encoded).toMatchObject({ exitCode: 0, err: '' })
  const status = await hayloft(['ec', 'status', '--volume', volumeId])
  expect(status).toMatchObject({ exitCode: 0, err: '' })
  expect(status.out).toMatch(new RegExp(`^volume ${volumeId} of old: 2\\+1, run \\d+, `))
  expect(status.out).toContain('  may still fail: 1 of 3 servers, ')
  expect(status.out).not.toContain('lacks')
  for (const { id, index } of files) expect(await get(id)).toBe(`file ${index}`)

  expect(await hayloft(['rm', doomed?.id ?? ''])).toMatchObject({ exitCode: 0, err: '' })
  expect(await get(doomed?.id ?? '')).toMatch(/^hayloft: NEEDLE_NOT_FOUND: /)

  for (const kind of ['ec-balance', 'ec-repair', 'ec-vacuum'] as const) {
    expect([kind, await run(kind, volumeId)]).toMatchObject([kind, { exitCode: 0, err: '' }])
    for (const { id, index } of others) expect(await get(id)).toBe(`file ${index}`)
    expect(await get(doomed?.id ?? '')).toMatch(/^hayloft: NEEDLE_NOT_FOUND: /)
  }

  expect(await run('ec-decode', volumeId)).toMatchObject({ exitCode: 0, err: '' })
  expect(await hayloft(['ec', 'status'])).toMatchObject({ out: 'no volume is erasure-coded\n' })
  for (const { id, index } of others) expect(await get(id)).toBe(`file ${index}`)
  expect(await get(doomed?.id ?? '')).toMatch(/^hayloft: NEEDLE_NOT_FOUND: /)
}, 120_000)
