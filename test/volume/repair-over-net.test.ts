import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { MIB } from '../../src/base/units.ts'
import type { TlsKeys } from '../../src/net/tls.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { skipLoudly } from '../support/mounts.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { vid } from '../support/test-store.ts'
import { makeTlsKeys, opensslMissing } from '../support/tls-keys.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { FakeMaster } from './fake-master.ts'
import { collect, fid, vacuumCommand } from './local-node.ts'

const secret = Buffer.alloc(32, 7)
const parts = { clock: systemClock, logger: silentLogger, random: new Prng(2) }
const command = vacuumCommand(3)

/** Two servers on loopback where every read needs a token, and one volume on the first. */
async function openPair(tls?: TlsKeys) {
  await using opening = new DisposeStack()
  const master = new FakeMaster()
  const connections = opening.use(await VolumeConnections.open(parts, { secret, tls }))
  const open = async (seed: number) => {
    const disk = new MemDisk(new Prng(seed))
    const raw = { directories: ['/a'], port: 0, drainMs: 2000, secret, readTokens: true, tls }
    const config = readVolumeServerConfig(raw)
    const server = opening.use(await VolumeServer.open({ ...parts, disk, master }, config, SIGNAL))
    const { location, metrics } = server
    return { disk, location, metrics, api: connections.connect(location) }
  }
  const source = await open(1)
  const target = await open(2)
  const replication = parseReplicaPlacement('000')
  const allocation = { ...command, collection: '', replication, ttl: TTL_NONE }
  await source.api.allocateVolume(allocation, SIGNAL)
  const owned = opening.move()
  return { source, target, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}

type Server = Awaited<ReturnType<typeof openPair>>['source']

async function put({ api }: Server, needle: number, data: Buffer): Promise<void> {
  const metadata = { name: `needle ${needle}`, pairs: { 'Seaweed-Number': `${needle}` } }
  const source = (async function* () {
    for (let at = 0; at < data.length; at += MIB) yield data.subarray(at, at + MIB)
  })()
  const request = { fileId: fid(3, needle), metadata, writeToken: '', isReplica: true }
  await api.putStream({ ...request, source }, SIGNAL)
}

describe('repair over the net', () => {
  test('copy, catch up, compare, heal and scrub, with a large needle and read tokens', async () => {
    await using pair = await openPair()
    const { source, target } = pair
    for (let needle = 1; needle <= 10; needle++) await put(source, needle, Buffer.alloc(999, 'x'))
    const copyCommand = { ...command, collection: '', source: source.location, replacesBad: false }
    const copied = (await collect(target.api.copyVolume(copyCommand, SIGNAL))).at(-1)
    const { sourceExtent } = copied ?? {}
    if (sourceExtent === undefined) throw new Error('the copy does not say how far it goes')

    await put(source, 11, Buffer.alloc(9 * MIB, 'large '))
    await put(source, 2, Buffer.from('newer'))
    const deletion = { fileId: fid(3, 3), writeToken: '', isReplica: true }
    await source.api.delete(deletion, SIGNAL)
    const frozen = await source.api.freezeVolume({ ...command, forMs: 5_000 }, SIGNAL)
    const catchUp = { ...command, source: source.location, sourceExtent }
    const caughtUp = await target.api.catchUpVolume(catchUp, SIGNAL)
    expect(caughtUp).toEqual({ sourceExtent: frozen, recordCount: 3 })
    await source.api.freezeVolume({ ...command, forMs: 0 }, SIGNAL)
    const ours = await target.api.digestVolume(vid(3), SIGNAL)
    const theirs = await source.api.digestVolume(vid(3), SIGNAL)
    expect(ours).toMatchObject({ digest: theirs.digest, liveNeedles: 10 })

    const pages = await collect(target.api.listNeedles(vid(3), SIGNAL))
    const needleIds = pages.flat().map(({ needleId }) => needleId)
    expect(needleIds.map(({ lo }) => lo)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    await target.api.deleteVolume({ ...command, expected: undefined }, SIGNAL)
    const replication = parseReplicaPlacement('000')
    const allocation = { ...command, collection: '', replication, ttl: TTL_NONE }
    await target.api.allocateVolume(allocation, SIGNAL)
    const heal = { ...command, source: source.location, needleIds }
    const answers = await target.api.healNeedles(heal, SIGNAL)
    expect(answers.filter(({ outcome }) => outcome === 'healed')).toHaveLength(10)
    const stats = await target.api.statNeedles(vid(3), needleIds, SIGNAL)
    expect(stats.map(({ state }) => state)).toEqual(
      needleIds.map(({ lo }) => (lo === 3 ? 'absent' : 'live')),
    )

    const scrub = { volumeId: vid(3), from: { datBytes: 0, compactionRevision: 0 }, politeness: 0 }
    const [sourceScrub, targetScrub] = await Promise.all(
      [source, target].map(({ api }) => collect(api.scrubVolume(scrub, SIGNAL))),
    )
    expect(targetScrub?.flatMap(({ findings }) => findings)).toEqual([])
    expect(targetScrub?.at(-1)?.contentDigest).toMatch(/^[0-9a-f]{16}$/)
    expect(targetScrub?.at(-1)?.contentDigest).toBe(sourceScrub?.at(-1)?.contentDigest)
  })

  test('.dat comes over HTTP, and nothing does where the servers use TLS', async () => {
    const askedOverHttp = async (tls?: TlsKeys): Promise<boolean> => {
      await using pair = await openPair(tls)
      const { source, target } = pair
      await put(source, 1, Buffer.alloc(2 * MIB, 'x'))
      const copy = { ...command, collection: '', source: source.location, replacesBad: false }
      await collect(target.api.copyVolume(copy, SIGNAL))
      const text = await source.metrics.text()
      return /volume_http_requests_total\{method="GET",outcome="2xx"\} 1/.test(text)
    }
    expect(await askedOverHttp()).toBe(true)
    if (skipLoudly('TLS', opensslMissing)) return
    await using directory = await openTempDirectory()
    const [keys] = makeTlsKeys(directory.path, 'ours', ['server'])
    expect(await askedOverHttp(keys)).toBe(false)
  })

  test('a volume that changed is not removed, and says so over the net', async () => {
    await using pair = await openPair()
    const { source, target } = pair
    const expected = await source.api.digestVolume(vid(3), SIGNAL)
    await put(source, 1, Buffer.from('one'))
    await expect(source.api.deleteVolume({ ...command, expected }, SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_CHANGED',
    })
    const sourceExtent = { datBytes: 8, compactionRevision: 5 }
    const copyCommand = { ...command, collection: '', source: source.location, replacesBad: false }
    await collect(target.api.copyVolume(copyCommand, SIGNAL))
    const catchUp = { ...command, source: source.location, sourceExtent }
    await expect(target.api.catchUpVolume(catchUp, SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_CHANGED',
    })
  })
})
