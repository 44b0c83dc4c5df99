import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { CLUSTER_AUTH_HEADER, ClusterAuth } from '../../src/net/cluster-auth.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { isFromCluster } from '../../src/volume/http-replica.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { TestVolumeHttp } from '../support/test-volume-http.ts'

const BYTES = 3_000_000
const REVISION = 5

async function open(options: { readonly publicOnly?: boolean } = {}) {
  const prng = new Prng(1)
  const auth = new ClusterAuth({ clock: systemClock, random: prng }, Buffer.alloc(32, 1))
  const disk = new MemDisk(prng)
  const dat = prng.bytes(BYTES)
  // Version 3, a compaction revision, no extra.
  Buffer.from([3, 0, 0, 0, 0, REVISION, 0, 0]).copy(dat)
  disk.put('/a/3.dat', dat)
  const http = await TestVolumeHttp.open(options, {
    verifyReplica: (req) => isFromCluster(auth, req),
    openVolumeData: async (volumeId) => {
      if (volumeId !== 3) throw new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not here`)
      return await disk.open('/a/3.dat', 'read')
    },
  })
  const ask = (query: string, method = 'GET') => {
    const target = `/vol/data?${query}`
    const headers = { [CLUSTER_AUTH_HEADER]: auth.signHttp(method, target) }
    return http.ask(target, { method, headers })
  }
  return { http, ask, dat, disk, [Symbol.asyncDispose]: () => http[Symbol.asyncDispose]() }
}

function query(changes: Record<string, string | number> = {}): string {
  const fields = { volume: 3, revision: REVISION, bytes: BYTES, ...changes }
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join('&')
}

describe('GET /vol/data', () => {
  test.each([BYTES, 2_097_152, 8])(
    'gives the first %i bytes, and closes the file',
    async (bytes) => {
      await using opened = await open()
      const { status, body, headers } = await opened.ask(query({ bytes }))
      expect(status).toBe(200)
      expect(headers['content-length']).toBe(String(bytes))
      expect(body.equals(opened.dat.subarray(0, bytes))).toBe(true)
      expect(opened.disk.openFiles).toBe(0)
    },
  )

  test('HEAD gives the length alone', async () => {
    await using opened = await open()
    const { status, body, headers } = await opened.ask(query(), 'HEAD')
    expect([status, body.length, headers['content-length']]).toEqual([200, 0, String(BYTES)])
  })

  test.each([
    ['another revision', query({ revision: 4 }), 409, 'VOLUME_CHANGED'],
    ['more bytes than there are', query({ bytes: BYTES + 1 }), 409, 'VOLUME_CHANGED'],
    ['another volume', query({ volume: 4 }), 404, 'VOLUME_NOT_FOUND'],
    ['no volume', query({ volume: 'x' }), 400, 'FILE_ID_INVALID'],
    ['no revision', query({ revision: '' }), 400, 'REQUEST_INVALID'],
    ['a negative length', query({ bytes: -1 }), 400, 'REQUEST_INVALID'],
    ['a length beyond all numbers', query({ bytes: '9'.repeat(16) }), 400, 'REQUEST_INVALID'],
  ])('refuses %s', async (_what, asked, status, code) => {
    await using opened = await open()
    const answer = await opened.ask(asked)
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.body.toString())).toMatchObject({ code })
    expect(opened.disk.openFiles).toBe(0)
  })

  test('is for servers of the cluster alone, and not on a public port', async () => {
    await using opened = await open()
    const answer = await opened.http.ask(`/vol/data?${query()}`)
    expect([answer.status, JSON.parse(answer.body.toString()).code]).toEqual([
      401,
      'UNAUTHENTICATED',
    ])
    await using published = await open({ publicOnly: true })
    expect((await published.ask(query())).status).toBeGreaterThanOrEqual(400)
  })
})
