import { describe, expect, test } from 'vitest'
import { formatFileId } from '../../src/base/file-id.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { deriveTokenKeys, FileTokens } from '../../src/net/file-token.ts'
import { RemoteVolume } from '../../src/net/remote-volume.ts'
import type { VolumeApi } from '../../src/net/volume-api.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { fid } from './local-node.ts'

const SECRET = Buffer.alloc(32, 7)
const HERE = fid(3, 1)

async function openServer() {
  const random = new Prng(2)
  const config = readVolumeServerConfig({
    directories: ['/a'],
    port: 0,
    secret: SECRET,
    writeTokens: true,
    readTokens: true,
  })
  const parts = { disk: new MemDisk(new Prng(1)), clock: systemClock, logger: silentLogger, random }
  const server = await VolumeServer.open(parts, config, SIGNAL)
  const replication = parseReplicaPlacement('000')
  const command = { epoch: 1, volumeId: vid(3), collection: '', replication, ttl: TTL_NONE }
  await server.api.allocateVolume(command, SIGNAL)
  const { location } = server
  const remote = new RemoteVolume({ clock: systemClock, random }, { location, timeoutMs: 5000 })
  return {
    server,
    remote,
    url: `http://${location.url}/${formatFileId(HERE)}`,
    async [Symbol.asyncDispose]() {
      await remote[Symbol.asyncDispose]()
      await server.destroy()
    },
  }
}

type Opened = Awaited<ReturnType<typeof openServer>>

const tokens = new FileTokens({ clock: systemClock }, deriveTokenKeys(SECRET))
const foreign = new FileTokens({ clock: systemClock }, deriveTokenKeys(Buffer.alloc(32, 8)))

const WRONG_FOR_WRITES: readonly [string, string][] = [
  ['none', ''],
  ['garbage', 'abc.def.ghi'],
  ['of another file', tokens.mintWrite(fid(3, 2), 60)],
  ['with another cookie', tokens.mintWrite(fid(3, 1, 8), 60)],
  ['that is over', tokens.mintWrite(HERE, -60)],
  ['for reading', tokens.mintRead(HERE, 60)],
  ['of another cluster', foreign.mintWrite(HERE, 60)],
  ['of a lease next to it', tokens.mintLease({ ...leaseFrom(2), count: 100 }, 60)],
]

const WRONG_FOR_READS: readonly [string, string][] = [
  ['none', ''],
  ['garbage', 'abc.def.ghi'],
  ['of another file', tokens.mintRead(fid(3, 2), 60)],
  ['that is over', tokens.mintRead(HERE, -60)],
  ['for writing', tokens.mintWrite(HERE, 60)],
  ['of another cluster', foreign.mintRead(HERE, 60)],
]

function leaseFrom(needle: number) {
  const { volumeId, needleId } = fid(3, needle)
  return { volumeId, firstNeedleId: needleId }
}

/** True: it was done. False: it was refused for the token. Anything else fails the test. */
async function isDone(running: Promise<unknown>): Promise<boolean> {
  try {
    await running
    return true
  } catch (error) {
    if (isStoreError(error, 'TOKEN_INVALID')) return false
    throw error
  }
}

async function isAnswered(running: Promise<Response>, wanted: readonly number[]) {
  const response = await running
  const text = await response.text()
  if (response.status === 401) {
    expect(JSON.parse(text)).toMatchObject({ code: 'TOKEN_INVALID' })
    return false
  }
  expect(wanted, text).toContain(response.status)
  return true
}

function putTo(api: VolumeApi, writeToken: string, data: Uint8Array): Promise<unknown> {
  return api.put({ fileId: HERE, data, metadata: {}, writeToken, isReplica: false }, SIGNAL)
}

async function* once(data: Uint8Array): AsyncGenerator<Uint8Array> {
  yield data
}

function bearer(token: string): Record<string, string> {
  return token === '' ? {} : { authorization: `Bearer ${token}` }
}

const DATA = Buffer.from('data')
const LARGE = Buffer.alloc(100_000, 3)

const WRITES: Readonly<Record<string, (opened: Opened, token: string) => Promise<boolean>>> = {
  'a direct put': ({ server }, token) => isDone(putTo(server.api, token, DATA)),
  'a put on the stream': ({ remote }, token) => isDone(putTo(remote, token, DATA)),
  'a put of 100 kB': ({ remote }, token) => isDone(putTo(remote, token, LARGE)),
  'a put call': ({ remote }, writeToken) => {
    const request = { fileId: HERE, data: DATA, metadata: {}, writeToken, isReplica: false }
    return isDone(remote.putOverGrpc(request, SIGNAL))
  },
  'a streamed put': ({ remote }, writeToken) => {
    const request = { fileId: HERE, source: once(DATA), metadata: {}, writeToken, isReplica: false }
    return isDone(remote.putStream(request, SIGNAL))
  },
  'a raw HTTP PUT': ({ url }, token) =>
    isAnswered(fetch(url, { method: 'PUT', body: DATA, headers: bearer(token) }), [201]),
  'a PUT with ?jwt=': ({ url }, token) =>
    isAnswered(fetch(`${url}?jwt=${token}`, { method: 'PUT', body: DATA }), [201]),
  'a form': ({ url }, token) => {
    const body = new FormData()
    body.append('file', new Blob(['data']), 'a.txt')
    return isAnswered(fetch(url, { method: 'POST', body, headers: bearer(token) }), [201])
  },
}

const DELETES: Readonly<Record<string, (opened: Opened, token: string) => Promise<boolean>>> = {
  'a direct delete': ({ server }, writeToken) =>
    isDone(server.api.delete({ fileId: HERE, writeToken, isReplica: false }, SIGNAL)),
  'a delete on the stream': ({ remote }, writeToken) =>
    isDone(remote.delete({ fileId: HERE, writeToken, isReplica: false }, SIGNAL)),
  'a batch': async ({ remote }, writeToken) => {
    const requests = [{ fileId: HERE, writeToken, isReplica: false }]
    const [answer] = await remote.batchDelete(requests, SIGNAL)
    if (answer?.error !== undefined) expect(answer.error.code).toBe('TOKEN_INVALID')
    return answer?.error === undefined
  },
  'an HTTP DELETE': ({ url }, token) =>
    isAnswered(fetch(url, { method: 'DELETE', headers: bearer(token) }), [202]),
}

const READS: Readonly<Record<string, (opened: Opened, token: string) => Promise<boolean>>> = {
  'an HTTP GET': ({ url }, token) => isAnswered(fetch(url, { headers: bearer(token) }), [200]),
  'a GET with ?jwt=': ({ url }, token) => isAnswered(fetch(`${url}?jwt=${token}`), [200]),
  'a GET with a cookie': ({ url }, token) =>
    isAnswered(fetch(url, { headers: { cookie: `AT=${token}` } }), [200]),
  'a GET of a range': ({ url }, token) =>
    isAnswered(fetch(url, { headers: { ...bearer(token), range: 'bytes=0-1' } }), [206]),
  'a read of the client': ({ remote }, readToken) =>
    isDone(readAll(remote.read({ ...ALL_OF_IT, readToken }, SIGNAL))),
  'a read over gRPC': ({ remote }, readToken) =>
    isDone(readAll(remote.readOverGrpc({ ...ALL_OF_IT, readToken }, SIGNAL))),
}

const ALL_OF_IT = { fileId: HERE, range: undefined, readDeleted: false }

async function readAll(opening: ReturnType<RemoteVolume['read']>): Promise<void> {
  await using content = await opening
  for await (const _ of content.data);
}

async function isStored({ server }: Opened): Promise<boolean> {
  return (await server.api.volumeStatus(vid(3), SIGNAL)).liveNeedles > 0
}

describe('with tokens required', () => {
  test.each(Object.entries(WRITES))('%s needs the right one', async (_, write) => {
    await using opened = await openServer()
    for (const [what, token] of WRONG_FOR_WRITES) {
      expect([what, await write(opened, token)]).toEqual([what, false])
      expect([what, await isStored(opened)]).toEqual([what, false])
    }
    expect(await write(opened, tokens.mintWrite(HERE, 60))).toBe(true)
    expect(await isStored(opened)).toBe(true)
  })

  test('a lease covers the ids in it, whatever their cookies', async () => {
    await using opened = await openServer()
    const lease = tokens.mintLease({ ...leaseFrom(1), count: 3 }, 60)
    expect(await isDone(putTo(opened.remote, lease, DATA))).toBe(true)
  })

  test.each(Object.entries(DELETES))('%s needs the right one', async (_, remove) => {
    await using opened = await openServer()
    await putTo(opened.server.api, tokens.mintWrite(HERE, 60), DATA)
    for (const [what, token] of WRONG_FOR_WRITES) {
      expect([what, await remove(opened, token)]).toEqual([what, false])
      expect([what, await isStored(opened)]).toEqual([what, true])
    }
    expect(await remove(opened, tokens.mintWrite(HERE, 60))).toBe(true)
    expect(await isStored(opened)).toBe(false)
  })

  test.each(Object.entries(READS))('%s needs the right one', async (_, read) => {
    await using opened = await openServer()
    await putTo(opened.server.api, tokens.mintWrite(HERE, 60), DATA)
    for (const [what, token] of WRONG_FOR_READS) {
      expect([what, await read(opened, token)]).toEqual([what, false])
    }
    expect(await read(opened, tokens.mintRead(HERE, 60))).toBe(true)
  })
})
