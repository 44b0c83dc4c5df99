import { readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { type StartServerOptions, startServer } from '../../src/server/start-server.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

function optionsFor(dir: string, change: Partial<StartServerOptions> = {}): StartServerOptions {
  return { dir, port: 0, volumePort: 0, volumeSize: '64MiB', ...change }
}

test('what was put is there after a restart, by id and by name, and ids go on', async () => {
  await using temp = await openTempDirectory()
  const options = optionsFor(join(temp.path, 'data'))
  const ids: string[] = []
  {
    await using server = await startServer(options)
    for (let n = 0; n < 50; n++) ids.push((await server.client.put(`file ${n}`)).fileId)
    await server.client.putNamed('a/name', 'named')
    await server.client.delete(ids[7] ?? '')
  }
  await using server = await startServer(options)
  for (const [n, id] of ids.entries()) {
    if (n === 7) await expect(server.client.get(id)).rejects.toThrow(/./)
    else expect((await server.client.get(id)).data.toString()).toBe(`file ${n}`)
  }
  expect((await server.client.getNamed('a/name')).data.toString()).toBe('named')
  expect(ids).not.toContain((await server.client.put('one more')).fileId)
})

test('HTTP is open too: a name through the master leads to the volume server', async () => {
  await using temp = await openTempDirectory()
  await using server = await startServer(optionsFor(temp.path))
  const url = `${server.masterUrl}/docs/readme.md`
  const put = await fetch(url, { method: 'PUT', body: 'over http' })
  expect([put.status, await put.text()]).toEqual([201, 'docs/readme.md'])
  const got = await fetch(url)
  expect([got.status, await got.text()]).toEqual([200, 'over http'])
  expect(server.volumeUrls.some((volume) => got.url.startsWith(`${volume}/`))).toBe(true)
  expect((await server.client.getNamed('docs/readme.md')).data.toString()).toBe('over http')
})

test('three volume servers in three racks hold two copies of a file', async () => {
  await using temp = await openTempDirectory()
  const change = { volumeServers: 3, racks: ['a', 'b', 'c'], replication: '010' }
  await using server = await startServer(optionsFor(temp.path, change))
  expect(new Set(server.volumeUrls).size).toBe(3)
  const { fileId } = await server.client.put('twice')
  const volumeId = fileId.slice(0, fileId.indexOf(','))
  const found = await fetch(`${server.masterUrl}/dir/lookup?volumeId=${volumeId}`)
  const { locations } = (await found.json()) as { locations: { url: string }[] }
  expect(locations).toHaveLength(2)
  for (const { url } of locations) {
    const copy = await fetch(`http://${url}/${fileId}`)
    expect(await copy.text()).toBe('twice')
  }
})

test('the secret is made once, readable by its owner only', async () => {
  await using temp = await openTempDirectory()
  const options = optionsFor(temp.path)
  let path: string
  let secret: string
  {
    await using server = await startServer(options)
    path = server.secretFile
    secret = await readFile(path, 'utf8')
  }
  expect(secret).toMatch(/^[0-9a-f]{64}\n$/)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  await using server = await startServer(options)
  expect(await readFile(server.secretFile, 'utf8')).toBe(secret)
})

test('with tokens switched on the client in this process has them, and others are refused', async () => {
  await using temp = await openTempDirectory()
  const change = { needsWriteTokens: true, needsReadTokens: true }
  await using server = await startServer(optionsFor(temp.path, change))
  const { fileId } = await server.client.put('guarded')
  expect((await server.client.get(fileId)).data.toString()).toBe('guarded')
  const direct = await fetch(`${server.volumeUrls[0]}/${fileId}`)
  expect(direct.status).toBe(401)
  await direct.text()
  expect(await server.client.delete(fileId)).toEqual({ wasLive: true })
})

describe('jobs', () => {
  const never = new AbortController().signal

  test('are done by the worker inside, and health is green', async () => {
    await using temp = await openTempDirectory()
    await using server = await startServer(optionsFor(temp.path, { repair: { politeness: 0 } }))
    const { fileId } = await server.client.put('checked')
    const volumeId = parseFileId(fileId).volumeId
    const request = { kind: 'scrub', target: { volumeId }, reason: 'a test' } as const
    const { id } = await server.jobs.runJob(request, never)
    for await (const job of server.jobs.watchJobs(never)) {
      if (job.id === id && job.state === 'done') break
    }
    expect((await server.jobs.health(never)).color).toBe('green')
  })

  test('wait when there is no worker', async () => {
    await using temp = await openTempDirectory()
    await using server = await startServer(optionsFor(temp.path, { repair: { workers: 0 } }))
    const { fileId } = await server.client.put('waits')
    const volumeId = parseFileId(fileId).volumeId
    const request = { kind: 'scrub', target: { volumeId }, reason: 'a test' } as const
    await server.jobs.runJob(request, never)
    expect(await server.jobs.listJobs({ withEnded: true }, never)).toMatchObject([
      { kind: 'scrub', state: 'waiting', attempts: 0 },
    ])
  })
})

test('a standby goes on where the first ended, as soon as it has ended', async () => {
  await using temp = await openTempDirectory()
  const options = optionsFor(temp.path)
  const first = await startServer(options)
  const { fileId } = await first.client.put('kept')
  const standby = startServer({ ...options, isStandby: true })
  let hasStarted = false
  void standby.then(() => {
    hasStarted = true
  })
  await first.client.put('while it waits')
  expect(hasStarted).toBe(false)
  await first.close()
  await using second = await standby
  expect((await second.client.get(fileId)).data.toString()).toBe('kept')
})

describe('a start that fails', () => {
  test('leaves nothing running: the same directory starts when the reason is gone', async () => {
    await using temp = await openTempDirectory()
    const taken = createServer()
    const port = await new Promise<number>((resolve, reject) => {
      taken.on('error', reject)
      taken.listen(0, '127.0.0.1', () => {
        const address = taken.address()
        resolve(typeof address === 'object' && address !== null ? address.port : 0)
      })
    })
    // The first volume server cannot listen: by then the master is open.
    const options = optionsFor(temp.path)
    const failing = startServer({ ...options, volumePort: port })
    await expect(failing).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
    await new Promise((resolve) => taken.close(resolve))
    await using server = await startServer(options)
    const { fileId } = await server.client.put('works')
    expect((await server.client.get(fileId)).data.toString()).toBe('works')
  })

  test('because another server has the directory says DIRECTORY_LOCKED, and disturbs no one', async () => {
    await using temp = await openTempDirectory()
    await using server = await startServer(optionsFor(temp.path))
    const second = startServer(optionsFor(temp.path))
    await expect(second).rejects.toMatchObject({ code: 'DIRECTORY_LOCKED' })
    expect((await server.client.put('still works')).sizeBytes).toBe(11)
  })

  test.each([
    [{ volumeServers: 0 }],
    [{ volumeServers: 65 }],
    [{ volumeServers: 1.5 }],
    [{ replication: '9999' }],
    [{ strategy: 'hope' }],
    [{ durability: 'maybe' as 'none' }],
    [{ racks: ['a b'] }],
    [{ volumeSize: '33GiB' }],
    [{ repair: { politeness: -1 } }],
    [{ repair: { workers: 0.5 } }],
    [{ erasure: { scheme: '10+40' } }],
    [{ erasure: { fullPercent: 0 } }],
    [{ erasure: { quietMs: -1 } }],
  ])('because of %j says CONFIG_INVALID and makes nothing on disk', async (change) => {
    await using temp = await openTempDirectory()
    const dir = join(temp.path, 'data')
    const failing = startServer(optionsFor(dir, change))
    await expect(failing).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(stat(dir)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('because it was called off says CANCELLED', async () => {
    await using temp = await openTempDirectory()
    const failing = startServer(optionsFor(temp.path), AbortSignal.abort())
    await expect(failing).rejects.toMatchObject({ code: 'CANCELLED' })
  })
})

test('closing twice is harmless, and the client is closed with the server', async () => {
  await using temp = await openTempDirectory()
  const server = await startServer(optionsFor(temp.path))
  await server.close()
  await server.close()
  await expect(server.client.put('late')).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(fetch(server.masterUrl)).rejects.toThrow()
})
