import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { FakeMaster } from './fake-master.ts'
import { fid, readText } from './local-node.ts'

async function openServer(master?: FakeMaster) {
  const disk = new MemDisk(new Prng(1))
  const random = new Prng(2)
  const config = readVolumeServerConfig({ directories: ['/a', '/b'], port: 0, drainMs: 1000 })
  const parts = { disk, clock: systemClock, logger: silentLogger, random, version: '9.9' }
  const server = await VolumeServer.open({ ...parts, master }, config, SIGNAL)
  return { disk, server, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

const allocation = {
  epoch: 1,
  volumeId: vid(3),
  collection: 'photos',
  replication: parseReplicaPlacement('000'),
  ttl: TTL_NONE,
}

describe('VolumeServer', () => {
  test('serves over HTTP what was put through its interface, on the ports it says', async () => {
    await using opened = await openServer()
    const { server } = opened
    await server.api.allocateVolume(allocation, SIGNAL)
    const put = { fileId: fid(3, 1), data: Buffer.from('hello'), metadata: {}, writeToken: '' }
    await server.api.put({ ...put, isReplica: false }, SIGNAL)
    const { url, publicUrl, grpcAddress } = server.location
    expect(url).toMatch(/^127\.0\.0\.1:\d+$/)
    expect(publicUrl).toBe(url)
    expect(grpcAddress).not.toBe(url)
    const response = await fetch(`http://${url}/3,0100000007`)
    expect([response.status, await response.text()]).toEqual([200, 'hello'])
    expect((await server.api.serverStatus(SIGNAL)).node).toEqual(server.location)
  })

  test('answers /status with its disks and volumes in the dialect', async () => {
    await using opened = await openServer()
    const { server } = opened
    await server.api.allocateVolume(allocation, SIGNAL)
    const response = await fetch(`http://${server.location.url}/status`)
    expect(await response.json()).toMatchObject({
      Version: '9.9',
      DiskStatuses: [
        { dir: '/a', all: 2 ** 40 },
        { dir: '/b', all: 2 ** 40 },
      ],
      Volumes: [
        { Id: 3, Collection: 'photos', Size: 8, FileCount: 0, ReadOnly: false, Version: 3 },
      ],
    })
  })

  test('is ready once a leader knows it, and has told it all there is', async () => {
    const master = new FakeMaster()
    await using opened = await openServer(master)
    const { server } = opened
    await expect.poll(() => server.isReady).toBe(true)
    expect(master.beats[0]).toMatchObject({ isFull: true, node: server.location, volumes: [] })
    await server.api.allocateVolume(allocation, SIGNAL)
    await expect.poll(() => master.beats.at(-1)?.volumes[0]?.volumeId).toBe(3)
  })

  test('says goodbye when it is closed, and leaves nothing open', async () => {
    const master = new FakeMaster()
    const { server, disk } = await openServer(master)
    await expect.poll(() => server.isReady).toBe(true)
    await server.close()
    await server.close()
    expect(master.beats.at(-1)?.isLeaving).toBe(true)
    expect(disk.openFiles).toBe(0)
    expect(server.isReady).toBe(false)
    await expect(fetch(`http://${server.location.url}/status`)).rejects.toThrow()
  })

  test('destroyed, it keeps what it acknowledged', async () => {
    const { server, disk } = await openServer()
    await server.api.allocateVolume(allocation, SIGNAL)
    const put = { fileId: fid(3, 1), data: Buffer.from('hello'), metadata: {}, writeToken: '' }
    await server.api.put({ ...put, isReplica: false }, SIGNAL)
    await server.destroy()
    await server.destroy()
    expect(disk.openFiles).toBe(0)
    const config = readVolumeServerConfig({ directories: ['/a', '/b'], port: 0 })
    const parts = { disk, clock: systemClock, logger: silentLogger, random: new Prng(3) }
    await using again = await VolumeServer.open(parts, config, SIGNAL)
    expect(await readText(again.api, 3, 1)).toBe('hello')
  })

  test('shows its numbers', async () => {
    await using opened = await openServer()
    const { server } = opened
    await server.api.allocateVolume(allocation, SIGNAL)
    const text = await server.metrics.text()
    expect(text).toContain('volume_count{state="writable"} 1')
    expect(text).toContain('disk_free_bytes{directory="/a"}')
  })
})
