import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { MIB } from '../../src/base/units.ts'
import type { PutOptions } from '../../src/client/client-api.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { decodeChunkManifest, needlesOfManifest } from '../../src/format/chunk-manifest.ts'
import { readMasterConfig } from '../../src/master/config.ts'
import { MasterServer } from '../../src/master/master-server.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const NEVER = new AbortController().signal
const CODED = { policy: 'ec:4+2' }
const READY_MS = 20_000
const POLL_MS = 10

/** A cluster of real servers in this process, and a client that reaches them over the net. */
async function openCluster(serverCount: number) {
  await using opening = new DisposeStack()
  const temp = opening.use(await openTempDirectory())
  const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
  const disk = new NodeDisk()
  const ports = { port: 0, grpcPort: 0, warmUpMaxMs: 0 }
  const late: { connections?: VolumeConnections } = {}
  const connect: VolumeConnections['connect'] = (location) =>
    (late.connections ?? expect.fail('too early')).connect(location)
  const config = readMasterConfig({ dir: join(temp.path, 'master'), ...ports })
  const master = opening.use(await MasterServer.open({ ...parts, disk, connect }, config, NEVER))
  const { secret, api } = master
  late.connections = opening.use(await VolumeConnections.open(parts, { secret }))
  const servers: VolumeServer[] = []
  const directories: string[] = []
  for (let index = 0; index < serverCount; index++) {
    const directory = join(temp.path, `volume-${index}`)
    const raw = { directories: [directory], port: 0, durability: 'none', secret } as const
    const volumeConfig = readVolumeServerConfig(raw)
    const serverParts = { ...parts, disk, connect, master: api }
    servers.push(opening.use(await VolumeServer.open(serverParts, volumeConfig, NEVER)))
    directories.push(directory)
  }
  const untilMs = performance.now() + READY_MS
  while (!servers.every((server) => server.isReady) && performance.now() < untilMs) {
    await systemClock.sleep(POLL_MS, NEVER)
  }
  const { grpcAddress, url } = master.location
  const masters = `${url}.${grpcAddress.split(':').at(-1)}`
  const client = opening.use(await HayloftClient.connect({ masters }))
  const owned = opening.move()
  const close = () => owned[Symbol.asyncDispose]()
  return { api, client, servers, directories, [Symbol.asyncDispose]: close }
}

async function datBytes(directories: readonly string[]): Promise<number> {
  let sum = 0
  for (const directory of directories) {
    for (const name of await readdir(directory)) {
      if (name.endsWith('.dat')) sum += (await stat(join(directory, name))).size
    }
  }
  return sum
}

async function fetchFrom(
  server: VolumeServer,
  fileId: string,
  headers: Record<string, string> = {},
) {
  const answer = await fetch(`http://${server.location.url}/${fileId}`, { headers })
  return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) }
}

async function manifestOf(server: VolumeServer, fileId: string) {
  const { body } = await fetchFrom(server, `${fileId}?cm=false`)
  return decodeChunkManifest(body)
}

describe('erasure-coded files on six servers', () => {
  test('of 800 KB take 1.51 times their bytes, manifests and all; copies take 3.00', async () => {
    await using cluster = await openCluster(6)
    const { client, directories } = cluster
    const prng = new Prng(1)
    const sizes = [800_000, 800 * 1024, 800_001]
    const ratioOf = async (options: PutOptions): Promise<number> => {
      const before = await datBytes(directories)
      let stored = 0
      for (let round = 0; round < 10; round++) {
        const data = prng.bytes(sizes[round % sizes.length] ?? 0)
        stored += data.length
        const { fileId } = await client.put(data, { ...options, name: `photo-${round}.jpg` })
        expect((await client.get(fileId)).data.equals(data)).toBe(true)
      }
      return ((await datBytes(directories)) - before) / stored
    }
    const coded = await ratioOf(CODED)
    const copied = await ratioOf({ replication: '002' })
    console.log(`ten files of 800 KB: 4+2 ${coded.toFixed(4)} times, copies ${copied.toFixed(4)}`)
    expect([coded > 1.5, coded <= 1.51]).toEqual([true, true])
    expect([copied >= 3, copied < 3.001]).toEqual([true, true])
  })

  test('are read, by the client and by plain HTTP of any server, while two are away', async () => {
    await using cluster = await openCluster(6)
    const { client, servers } = cluster
    const prng = new Prng(2)
    const files: [string, Buffer][] = []
    for (const size of [1, 70_000, 800_000, 9 * MIB + 1]) {
      const data = prng.bytes(size)
      const { fileId } = await client.put(data, { ...CODED, name: 'a.bin' })
      files.push([fileId, data])
    }
    const checkAll = async (asked: readonly VolumeServer[]): Promise<void> => {
      for (const [fileId, data] of files) {
        expect((await client.get(fileId)).data.equals(data)).toBe(true)
        for (const server of asked) {
          const whole = await fetchFrom(server, fileId)
          expect([whole.status, whole.body.equals(data)]).toEqual([200, true])
          const [start, end] = [data.length >> 2, data.length - (data.length >> 3)]
          const range = `bytes=${start}-${end - 1}`
          const part = await fetchFrom(server, fileId, { range })
          expect([part.status, part.body.equals(data.subarray(start, end))]).toEqual([206, true])
        }
      }
    }
    await checkAll(servers)
    await servers[1]?.close()
    await servers[4]?.close()
    await checkAll(servers.filter((_, index) => index !== 1 && index !== 4))
  })

  test('leave no needle behind when they are deleted over HTTP', async () => {
    await using cluster = await openCluster(6)
    const { api, client, servers } = cluster
    const [server] = servers
    if (server === undefined) throw new Error('no server')
    const { fileId } = await client.put(new Prng(3).bytes(9 * MIB), CODED)
    const needles = needlesOfManifest(await manifestOf(server, fileId)).map(formatFileId)
    expect(needles).toHaveLength(12)
    for (const needle of needles) expect((await fetchFrom(server, needle)).status).toBe(200)
    // Only a server that has the file takes the delete; the shards are anywhere.
    const [found] = await api.lookup([parseFileId(fileId).volumeId])
    const { url } = found?.locations[0] ?? server.location
    const answer = await fetch(`http://${url}/${fileId}`, { method: 'DELETE' })
    expect(answer.status).toBe(202)
    expect(await answer.json()).toEqual({ size: 9 * MIB })
    for (const needle of [fileId, ...needles]) {
      expect((await fetchFrom(server, needle)).status).toBe(404)
    }
  })
})

describe('erasure-coded files on eight servers', () => {
  test('are repaired after one is lost, under their ids, and bear the loss of two more', async () => {
    await using cluster = await openCluster(8)
    const { api, client, servers } = cluster
    const prng = new Prng(4)
    const files: [string, Buffer][] = []
    for (let round = 0; round < 8; round++) {
      const data = prng.bytes(prng.between(1000, 300_000))
      const { fileId } = await client.put(data, { ...CODED, name: `n-${round}`, mime: 'x/y' })
      files.push([fileId, data])
    }
    // One without a copy of a manifest: otherwise the master would have to make another one first.
    const held = await api.lookup(files.map(([fileId]) => parseFileId(fileId).volumeId))
    const holders = new Set(held.flatMap(({ locations }) => locations.map(({ url }) => url)))
    const lost = servers.find(({ location }) => !holders.has(location.url))
    const [second, third] = servers.filter((server) => server !== lost)
    const reader = servers.at(-1) === lost ? servers.at(-2) : servers.at(-1)
    if (lost === undefined || reader === undefined) throw new Error('all have manifests')
    await lost.close()
    let rebuiltCount = 0
    for (const [fileId] of files) {
      const result = await client.repairFile(fileId)
      rebuiltCount += result.rebuiltCount
      const manifest = await manifestOf(reader, fileId)
      const shards = manifest.erasure?.stripes.flatMap((stripe) => stripe.shards) ?? []
      for (const shard of shards) {
        if (shard.fileId === undefined) continue
        const [where] = await api.lookup([shard.fileId.volumeId])
        expect(where?.locations).toHaveLength(1)
      }
      expect(await client.stat(fileId)).toMatchObject({ mime: 'x/y', erasure: '4+2' })
    }
    expect(rebuiltCount).toBeGreaterThan(0)
    await second?.close()
    await third?.close()
    for (const [fileId, data] of files) {
      expect((await client.get(fileId)).data.equals(data)).toBe(true)
    }
  })
})
