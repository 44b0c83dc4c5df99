import { describe, expect, test } from 'vitest'
import { addToNeedleId, cookie } from '../../src/base/ids.ts'
import { readMasterConfig } from '../../src/master/config.ts'
import { MasterServer, type MasterServerParts } from '../../src/master/master-server.ts'
import { deriveTokenKeys, FileTokens } from '../../src/net/file-token.ts'
import { RemoteJobs } from '../../src/net/remote-jobs.ts'
import { RemoteMaster } from '../../src/net/remote-master.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { connectTo, FakeVolumeServer } from '../support/fake-volume-server.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { ANY_ASSIGN, NO_SIGNAL } from '../support/test-master.ts'

function partsWith(servers: FakeVolumeServer[]): MasterServerParts {
  const connect = connectTo(servers)
  const disk = new NodeDisk()
  return { disk, clock: systemClock, random: cryptoRandom, logger: silentLogger, connect }
}

describe('a master server', () => {
  test('assigns over HTTP, and goes on with a higher epoch and higher ids', async () => {
    await using directory = await openTempDirectory()
    const config = readMasterConfig({ dir: `${directory.path}/m`, port: 0 })
    const volumeServer = new FakeVolumeServer('a:1')
    const parts = partsWith([volumeServer])
    let first: bigint
    {
      await using server = await MasterServer.open(parts, config, NO_SIGNAL)
      volumeServer.join(server.api, NO_SIGNAL)
      const response = await fetch(`http://${server.location.url}/dir/assign?count=3`)
      expect(response.status).toBe(200)
      const answer = (await response.json()) as { fid: string; url: string; count: number }
      expect(answer).toMatchObject({ url: 'a:1', count: 3 })
      first = BigInt(`0x${answer.fid.split(',')[1]?.slice(0, -8)}`)
      const status = await server.api.status()
      expect(status).toMatchObject({ isLeader: true, epoch: 1, isWarming: false })
      const metrics = await fetch(`http://${server.location.url}/metrics`)
      expect(await metrics.text()).toMatch(/^cluster_nodes_up 1$/m)
      volumeServer.leave()
    }
    await using server = await MasterServer.open(parts, config, NO_SIGNAL)
    expect(await server.api.status()).toMatchObject({ epoch: 2, isWarming: true })
    volumeServer.join(server.api, NO_SIGNAL)
    const lease = await server.api.assign(ANY_ASSIGN, NO_SIGNAL)
    expect(BigInt(lease.firstNeedleId.lo)).toBeGreaterThan(first + 2n)
    expect(lease.locations[0]?.url).toBe('a:1')
    expect(await server.api.grow({ ...ANY_ASSIGN, count: 2 }, NO_SIGNAL)).toHaveLength(2)
    expect(volumeServer.seenEpoch).toBe(2)
    volumeServer.leave()
  })

  test('does over gRPC what it does in its own process', async () => {
    await using directory = await openTempDirectory()
    // One volume, so that none is made in the background while both are compared.
    const growth = { writableMin: 1 }
    const raw = { dir: directory.path, port: 0, needsWriteTokens: true, growth }
    const config = readMasterConfig(raw)
    const volumeServer = new FakeVolumeServer('a:1')
    const parts = partsWith([volumeServer])
    await using server = await MasterServer.open(parts, config, NO_SIGNAL)
    const { secret, location } = server
    const addresses = [location.grpcAddress]
    await using remote = await RemoteMaster.open(
      { ...parts },
      { addresses, secret, timeoutMs: 5000 },
    )
    const beats = volumeServer.join(remote, NO_SIGNAL)
    const lease = await remote.assign({ ...ANY_ASSIGN, count: 7 }, NO_SIGNAL)
    const { volumeId, firstNeedleId } = lease
    expect(lease).toMatchObject({ count: 7, locations: [volumeServer.location] })
    const tokens = new FileTokens(parts, deriveTokenKeys(secret))
    const fileId = { volumeId, needleId: addToNeedleId(firstNeedleId, 6), cookie: cookie(1) }
    tokens.verifyWrite(lease.writeToken, fileId)
    expect(await remote.lookup([volumeId], NO_SIGNAL)).toEqual(await server.api.lookup([volumeId]))
    for await (const update of remote.watch(NO_SIGNAL)) {
      expect(update.isSnapshot).toBe(true)
      expect(update.volumes.map((volume) => volume.volumeId)).toContain(volumeId)
      break
    }
    expect(await remote.topology(NO_SIGNAL)).toEqual(await server.api.topology())
    expect(beats.answers[0]).toMatchObject({ isLeader: true, epoch: 1, leader: location.url })
    volumeServer.leave()
  })

  test('answers for jobs over gRPC, and for health over HTTP and in its metrics', async () => {
    await using directory = await openTempDirectory()
    const config = readMasterConfig({ dir: directory.path, port: 0 })
    const volumeServer = new FakeVolumeServer('a:1')
    const parts = partsWith([volumeServer])
    await using server = await MasterServer.open(parts, config, NO_SIGNAL)
    volumeServer.join(server.api, NO_SIGNAL)
    await server.api.assign(ANY_ASSIGN, NO_SIGNAL)
    const { secret, location } = server
    const addresses = [location.grpcAddress]
    await using remote = await RemoteJobs.open({ ...parts }, { addresses, secret, timeoutMs: 5000 })
    const [id] = await remote.listVolumes(undefined, NO_SIGNAL)
    const target = { volumeId: id }
    const job = await remote.runJob({ kind: 'scrub', target, reason: 'now' }, NO_SIGNAL)
    expect(job).toMatchObject({ id: 1, kind: 'scrub', target, state: 'waiting' })
    const taken = await remote.takeJob({ worker: 'w', queue: '', kinds: [] }, NO_SIGNAL)
    expect(taken).toMatchObject({ epoch: 1, job: { state: 'running', worker: 'w' } })
    const response = await fetch(`http://${location.url}/cluster/health`)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({
      color: 'green',
      isFullyRedundant: true,
      nodesUp: 1,
      jobsRunning: 1,
      alerts: [],
    })
    const metrics = await (await fetch(`http://${location.url}/metrics`)).text()
    expect(metrics).toMatch(/^health_color 0$/m)
    expect(metrics).toMatch(/^jobs_running 1$/m)
    expect(metrics).toMatch(/^repair_volumes_below 0$/m)
    expect(metrics).toMatch(/^repair_dirty_needles 0$/m)
    expect(metrics).toMatch(/^cluster_heartbeat_age_seconds\{node="a:1"\} [\d.e-]+$/m)
    volumeServer.leave()
  })

  test('refuses a second master on its directory, and closes what it had opened', async () => {
    await using directory = await openTempDirectory()
    const config = readMasterConfig({ dir: directory.path, port: 0 })
    await using _first = await MasterServer.open(partsWith([]), config, NO_SIGNAL)
    await expect(MasterServer.open(partsWith([]), config, NO_SIGNAL)).rejects.toMatchObject({
      code: 'DIRECTORY_LOCKED',
    })
  })

  test('a standby waits for the directory, and goes on where the first one was', async () => {
    await using directory = await openTempDirectory()
    const raw = { dir: directory.path, port: 0 }
    const first = await MasterServer.open(partsWith([]), readMasterConfig(raw), NO_SIGNAL)
    const waiting: string[] = []
    const logger = { ...silentLogger, info: (event: string) => void waiting.push(event) }
    const standby = readMasterConfig({ ...raw, standby: true })
    const opening = MasterServer.open({ ...partsWith([]), logger }, standby, NO_SIGNAL)
    const isOpen = await Promise.race([
      opening.then(() => true),
      systemClock.sleep(600, NO_SIGNAL).then(() => false),
    ])
    expect(isOpen).toBe(false)
    expect(waiting).toEqual(['master.standby'])
    await first.close()
    await using second = await opening
    expect(await second.api.status()).toMatchObject({ isLeader: true, epoch: 2 })
  })

  test('a standby can be told to give up', async () => {
    await using directory = await openTempDirectory()
    const raw = { dir: directory.path, port: 0 }
    await using _first = await MasterServer.open(partsWith([]), readMasterConfig(raw), NO_SIGNAL)
    const stopping = new AbortController()
    const standby = readMasterConfig({ ...raw, standby: true })
    const opening = MasterServer.open(partsWith([]), standby, stopping.signal)
    stopping.abort()
    await expect(opening).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  test('on a port that is taken costs no epoch', async () => {
    await using directory = await openTempDirectory()
    await using other = await MasterServer.open(
      partsWith([]),
      readMasterConfig({ dir: `${directory.path}/a`, port: 0 }),
      NO_SIGNAL,
    )
    const port = Number(other.location.url.split(':')[1])
    const dir = `${directory.path}/b`
    const taken = readMasterConfig({ dir, port, grpcPort: 0 })
    await expect(MasterServer.open(partsWith([]), taken, NO_SIGNAL)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
    })
    const free = readMasterConfig({ dir, port: 0 })
    await using server = await MasterServer.open(partsWith([]), free, NO_SIGNAL)
    expect(await server.api.status()).toMatchObject({ epoch: 1 })
  })
})
