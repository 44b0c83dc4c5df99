import { expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { cookie, needleIdFromNumber } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { RemoteVolume } from '../../src/net/remote-volume.ts'
import type { NeedleMetadata } from '../../src/net/volume-api.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { gather, SIGNAL } from '../support/test-volume.ts'

async function open(seed: number) {
  const config = readVolumeServerConfig({ directories: ['/a'], port: 0, drainMs: 1000 })
  const random = new Prng(seed)
  const parts = { disk: new MemDisk(random), clock: systemClock, logger: silentLogger, random }
  const server = await VolumeServer.open(parts, config, SIGNAL)
  const place = { replication: parseReplicaPlacement('000'), ttl: TTL_NONE, collection: '' }
  await server.api.allocateVolume({ epoch: 1, volumeId: vid(3), ...place }, SIGNAL)
  const { location } = server
  const remote = new RemoteVolume(parts, { location, timeoutMs: 20_000 })
  return {
    server,
    remote,
    async [Symbol.asyncDispose]() {
      await remote.close(1000)
      await server[Symbol.asyncDispose]()
    },
  }
}

const NAMES = ['', 'a.bin', 'naïve (1)*.jpg', '100%20 "q";x', '文件', "it's", 'a b']
const MIMES = [undefined, 'image/png', 'application/x-thing; v="1"']
const PAIRS = [undefined, { 'X-Color': 'grün ✓' }, { A: '', 'B-2': 'two  blanks' }]

function randomMetadata(prng: Prng): NeedleMetadata {
  const name = NAMES[prng.below(NAMES.length)]
  return {
    name: name === '' ? undefined : name,
    mime: MIMES[prng.below(MIMES.length)],
    lastModifiedS: 1_600_000_000 + prng.below(1000),
    pairs: PAIRS[prng.below(PAIRS.length)],
    isCompressed: false,
    isChunkManifest: false,
  }
}

// Goal: what is put in one way is read in every way: stream or HTTP in, HTTP or gRPC out.
// Method: random sizes and metadata against a real server on a disk in memory.
test.each(seeds(5))(
  'a real server keeps data and metadata on every way (seed %d)',
  async (seed) => {
    await using fixture = await open(seed)
    const { remote, server } = fixture
    const prng = new Prng(seed)
    for (let id = 1; id <= 30; id++) {
      const fileId = {
        volumeId: vid(3),
        needleId: needleIdFromNumber(id),
        cookie: cookie(prng.below(2 ** 31)),
      }
      const length = [0, 1, 5000, 65_536, 65_537, 300_000, 3 << 20][prng.below(7)] ?? 0
      const data = Buffer.alloc(length, id)
      const metadata = randomMetadata(prng)
      const put = { fileId, data, metadata, writeToken: '', isReplica: false }
      const answer = await remote.put(put, SIGNAL)
      expect(answer).toMatchObject({ checksum: crc32c(data), dataBytes: length, isDurable: true })

      const request = { fileId, range: undefined, readDeleted: false, readToken: '' }
      const local = await server.api.read(request, SIGNAL)
      const reads = { local, http: await remote.read(request, SIGNAL) }
      const all = { ...reads, grpc: await remote.readOverGrpc(request, SIGNAL) }
      for (const [way, content] of Object.entries(all)) {
        await using found = content
        expect([way, (await gather(found.data)).equals(data)]).toEqual([way, true])
        const { mime, ...rest } = found.metadata
        const { mime: stored, ...expected } = metadata
        expect({ way, ...rest }).toMatchObject({ way, ...expected })
        // Over HTTP the type of a known extension stands in for one that is not there.
        if (way !== 'http' || stored !== undefined) expect(mime).toBe(stored)
        expect([found.checksum, found.dataBytes]).toEqual([crc32c(data), length])
      }
      if (length > 10) {
        const range = { start: 3, end: 9 }
        await using part = await remote.read({ ...request, range }, SIGNAL)
        expect((await gather(part.data)).equals(data.subarray(3, 9))).toBe(true)
      }
      if (prng.chance(0.3)) {
        const gone = await remote.delete({ fileId, writeToken: '', isReplica: false }, SIGNAL)
        expect(gone.wasLive).toBe(true)
        await expect(remote.read(request, SIGNAL)).rejects.toMatchObject({
          code: 'NEEDLE_NOT_FOUND',
        })
      }
    }
  },
)
