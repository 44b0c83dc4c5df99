import { request } from 'undici'
import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { readClusterSecret } from '../../src/net/cluster-secret.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { Prng } from '../support/prng.ts'
import { RepairCluster } from '../support/repair-cluster.ts'
import { ClusterProcesses, freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const MIB = 2 ** 20
const NEVER = new AbortController().signal
const FILES = 60
const STEPS = 1200
const VACUUM_EVERY = 200
const READERS = 6

async function startStore(directory: string, threads: number) {
  const [master = 0, volume = 0] = await freePorts(2)
  const ports = ['--port', String(master), '--volume-port', String(volume), '--s3-port', 'off']
  const server = await ServerProcess.start({
    args: ['server', '--dir', directory, ...ports, '--threads', String(threads)],
    readyUrl: `http://127.0.0.1:${volume}/readyz`,
  })
  return { server, masterUrl: `http://127.0.0.1:${master}`, url: `http://127.0.0.1:${volume}` }
}

/** A connection of its own, so that all threads get some. */
async function call(url: string, method: 'GET' | 'PUT' | 'DELETE', body?: Buffer) {
  const headers = { connection: 'close', 'content-type': 'application/octet-stream' }
  const answer = await request(url, { method, headers, ...(body && { body }) })
  return { status: answer.statusCode, body: Buffer.from(await answer.body.arrayBuffer()) }
}

async function assignFiles(masterUrl: string, count: number): Promise<string[]> {
  const answer = await call(`${masterUrl}/dir/assign?count=${count}`, 'GET')
  const { fid } = JSON.parse(answer.body.toString()) as { fid: string }
  return Array.from({ length: count }, (_, n) => (n === 0 ? fid : `${fid}_${n}`))
}

describe('three data threads over one store', () => {
  // Goal: whatever thread answers, it shows what was acknowledged last: no deleted file, no old
  // one. Method: random puts, overwrites, deletes and vacuums, each followed by reads on
  // connections of their own, while other readers keep all threads busy.
  test('show every acknowledged change at once, through vacuums', async () => {
    await using directory = await openTempDirectory()
    const { server, masterUrl, url } = await startStore(directory.path, 3)
    await using _server = server
    const prng = new Prng(11)
    const fids = await assignFiles(masterUrl, FILES)
    const expected = new Map<string, Buffer>()
    let isOver = false
    let vacuums = 0
    const disturb = async (): Promise<void> => {
      while (!isOver) {
        const { status } = await call(`${url}/${prng.pick(fids)}`, 'GET')
        expect([200, 404]).toContain(status)
      }
    }
    const readers = Array.from({ length: READERS }, disturb)
    for (let step = 0; step < STEPS; step++) {
      const fid = prng.pick(fids)
      const address = `${url}/${fid}`
      if (prng.chance(0.65)) {
        const body = prng.bytes(1 + prng.below(3000))
        const { status } = await call(address, 'PUT', body)
        expect([201, 204]).toContain(status)
        expected.set(fid, body)
      } else {
        const { status } = await call(address, 'DELETE')
        expect(status).toBe(expected.has(fid) ? 202 : 404)
        expected.delete(fid)
      }
      if (step % VACUUM_EVERY === VACUUM_EVERY - 1) {
        expect((await call(`${masterUrl}/vol/vacuum?garbageThreshold=0.01`, 'GET')).status).toBe(
          200,
        )
        vacuums++
      }
      const seen = await call(address, 'GET')
      const body = expected.get(fid)
      expect([step, seen.status]).toEqual([step, body === undefined ? 404 : 200])
      if (body !== undefined) expect(seen.body.equals(body)).toBe(true)
    }
    isOver = true
    await Promise.all(readers)
    expect(vacuums).toBe(STEPS / VACUUM_EVERY)
    for (const fid of fids) {
      const seen = await call(`${url}/${fid}`, 'GET')
      const body = expected.get(fid)
      expect(seen.status).toBe(body === undefined ? 404 : 200)
      if (body !== undefined) expect(seen.body.equals(body)).toBe(true)
    }
  })

  test('serve large files, ranges, new volumes, status and metrics of all threads', async () => {
    await using directory = await openTempDirectory()
    const { server, masterUrl, url } = await startStore(directory.path, 3)
    await using _server = server
    const body = new Prng(3).bytes(20 * MIB)
    const [fid = ''] = await assignFiles(masterUrl, 1)
    expect((await call(`${url}/${fid}`, 'PUT', body)).status).toBe(201)
    for (let i = 0; i < 4; i++) {
      expect((await call(`${url}/${fid}`, 'GET')).body.equals(body)).toBe(true)
    }
    const range = await request(`${url}/${fid}`, { headers: { range: 'bytes=9000000-9000009' } })
    expect(range.statusCode).toBe(206)
    const part = Buffer.from(await range.body.arrayBuffer())
    expect(part.equals(body.subarray(9_000_000, 9_000_010))).toBe(true)

    const grown = await call(`${masterUrl}/dir/assign?collection=later`, 'GET')
    const later = (JSON.parse(grown.body.toString()) as { fid: string }).fid
    expect((await call(`${url}/${later}`, 'PUT', Buffer.from('later'))).status).toBe(201)
    expect((await call(`${url}/${later}`, 'GET')).body.toString()).toBe('later')

    const metrics = (await call(`${url}/metrics`, 'GET')).body.toString()
    const gets = /volume_http_requests_total\{method="GET",outcome="2xx"\} (\d+)/.exec(metrics)
    expect(Number(gets?.[1])).toBeGreaterThanOrEqual(5)
    expect(JSON.parse((await call(`${url}/status`, 'GET')).body.toString())).toHaveProperty(
      'Volumes',
    )
    expect((await call(`${url}/3,01`, 'GET')).status).toBe(400)
    expect(await server.stop()).toBe(0)
  })

  test('give whole volumes to other servers', async () => {
    await using owned = new DisposeStack()
    const directory = owned.use(await openTempDirectory()).path
    const processes = owned.use(
      await ClusterProcesses.start({
        directory,
        volumeServers: 2,
        masterFlags: ['--check', '1h', '--workers', '0'],
        volumeFlags: ['--threads', '2'],
      }),
    )
    const { masterAddress, secretFile } = processes
    const cluster = owned.use(await RepairCluster.connect({ masterAddress, secretFile }))
    const body = new Prng(4).bytes(3 * MIB)
    const { fileId } = await cluster.client.put(body)
    const { volumeId } = parseFileId(fileId)
    const { members, collection } = await cluster.jobs.volumeFacts(volumeId, NEVER)
    const source = members[0]?.location
    const { nodes } = await cluster.master.topology(NEVER)
    const target = nodes.find(({ location }) => location.url !== source?.url)?.location
    if (source === undefined || target === undefined) throw new Error('two servers are needed')
    const secret = await readClusterSecret(new NodeDisk(), secretFile)
    const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
    const { connect } = owned.use(await VolumeConnections.open(parts, { secret }))
    const { epoch } = await cluster.master.status(NEVER)
    const copy = { epoch, volumeId, collection, source, politeness: 0, replacesBad: false }
    for await (const _ of connect(target).copyVolume(copy, NEVER));
    const read = await call(`http://${target.url}/${fileId}`, 'GET')
    expect(read.body.equals(body)).toBe(true)
  })
})
