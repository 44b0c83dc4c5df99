// The engine beside its baselines, in one run: durable against non-durable appends, reads against
// bare `fs.readSync`, the needle map against a bare typed-array probe, opening against reading the
// same file. Usage: npm run bench -- engine [--quick]
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32c } from '../dist/base/crc32c.js'
import { needleIdFromNumber, volumeId } from '../dist/base/ids.js'
import { TTL_NONE } from '../dist/base/ttl.js'
import { encodeChecksumSidecar } from '../dist/format/checksum-sidecar.js'
import { recordBytes } from '../dist/format/needle.js'
import { encodeSuperBlock } from '../dist/format/super-block.js'
import { systemClock } from '../dist/runtime/clock.js'
import { silentLogger } from '../dist/runtime/logger.js'
import { NodeDisk } from '../dist/runtime/node-disk.js'
import { ReadBuffer } from '../dist/storage/read-buffer.js'
import { Volume } from '../dist/storage/volume.js'
import { UNGUARDED_SPACE } from '../dist/storage/volume-options.js'
import { volumePaths } from '../dist/storage/volume-paths.js'
import { interleave, perSecond, report, thousands } from './measure.mjs'
import { measureInserts, measureLookups, measureMemory, measurePacking } from './needle-map.mjs'

const SIGNAL = new AbortController().signal
const SUPER_BLOCK = {
  version: 3,
  replicaPlacement: { otherDataCenters: 0, otherRacks: 0, otherServers: 0 },
  ttl: TTL_NONE,
  compactionRevision: 0,
  extra: Buffer.alloc(0),
}
const parts = {
  disk: new NodeDisk(),
  clock: systemClock,
  logger: silentLogger,
  space: UNGUARDED_SPACE,
}
const FSYNC = { mode: 'fsync' }
const NONE = { mode: 'none' }

/** A directory on the disk that the work tree is on: the system's temp may be in memory. */
async function withDirectory(run) {
  const base = process.env.HAYLOFT_BENCH_DIR ?? tmpdir()
  const directory = mkdtempSync(join(base, 'hayloft-bench-'))
  try {
    return await run(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

let nextVolumeId = 1

function createVolume(directory, durability) {
  const paths = volumePaths(directory, { collection: '', volumeId: volumeId(nextVolumeId++) })
  const options = { durability, sizeMaxBytes: 30 * 2 ** 30, superBlock: SUPER_BLOCK }
  return Volume.create(parts, paths, options)
}

/** Closed loop: each writer puts its next needle when the last one is acknowledged. */
async function appendRate(directory, durability, writers, forMs) {
  const volume = await createVolume(directory, durability)
  const data = Buffer.alloc(1024, 'x')
  const endMs = performance.now() + forMs
  const startMs = performance.now()
  let next = 1
  let done = 0
  const write = async () => {
    while (performance.now() < endMs) {
      const id = needleIdFromNumber(next++)
      await volume.put({ id, cookie: 7, data, attributes: { lastModifiedS: 1 } }, SIGNAL)
      done++
    }
  }
  await Promise.all(Array.from({ length: writers }, write))
  const rate = perSecond(done, performance.now() - startMs)
  await volume[Symbol.asyncDispose]()
  for (const path of [volume.paths.dat, volume.paths.idx, volume.paths.sum]) rmSync(path)
  return rate
}

export async function benchAppends(isQuick) {
  const forMs = isQuick ? 500 : 2000
  const rounds = isQuick ? 3 : 5
  await withDirectory(async (directory) => {
    await appendRate(directory, NONE, 128, 500)
    for (const [writers, goal] of [
      [1, undefined],
      [16, 0.25],
      [128, 0.6],
    ]) {
      const rates = await interleave(rounds, {
        durable: () => appendRate(directory, FSYNC, writers, forMs),
        nonDurable: () => appendRate(directory, NONE, writers, forMs),
      })
      report(
        `appends of 1 KiB, ${writers} writers, durable / not`,
        {
          value: rates.durable / rates.nonDurable,
          unit: '×',
          detail: `${thousands(rates.durable)}/s durable, ${thousands(rates.nonDurable)}/s not`,
        },
        goal === undefined ? undefined : { atLeast: goal },
      )
    }
  })
}

export async function benchReads(isQuick) {
  const count = 100_000
  const reads = isQuick ? 200_000 : 500_000
  await withDirectory(async (directory) => {
    const volume = await createVolume(directory, NONE)
    const data = Buffer.alloc(1024, 'y')
    for (let from = 1; from <= count; from += 1000) {
      const puts = Array.from({ length: 1000 }, (_, index) =>
        volume.put(
          { id: needleIdFromNumber(from + index), cookie: 7, data, attributes: {} },
          SIGNAL,
        ),
      )
      await Promise.all(puts)
    }
    const length = recordBytes(1024 + 4 + 8, 3)
    const order = Uint32Array.from({ length: reads }, () => Math.floor(Math.random() * count))
    const fd = openSync(volume.paths.dat, 'r')
    const target = Buffer.alloc(length)
    const bare = () => {
      const startMs = performance.now()
      for (let index = 0; index < reads; index++)
        readSync(fd, target, 0, length, 8 + order[index] * length)
      return perSecond(reads, performance.now() - startMs)
    }
    const into = new ReadBuffer(length)
    const ours = async () => {
      const startMs = performance.now()
      let bytes = 0
      for (let index = 0; index < reads; index++) {
        const request = { id: needleIdFromNumber(order[index] + 1), cookie: 7 }
        // As a server does: what may be cold goes through the thread pool.
        const needle = volume.readWarm(request, into) ?? (await volume.read(request))
        bytes += needle.data.length
      }
      if (bytes !== reads * 1024) throw new Error(`${bytes} bytes read`)
      return perSecond(reads, performance.now() - startMs)
    }
    await ours()
    const rates = await interleave(isQuick ? 3 : 7, { bare, ours })
    closeSync(fd)
    await volume[Symbol.asyncDispose]()
    report(
      'random reads of 1 KiB / bare fs.readSync',
      {
        value: rates.ours / rates.bare,
        unit: '×',
        detail: `${thousands(rates.ours)}/s checked, ${thousands(rates.bare)}/s bare`,
      },
      { atLeast: 0.6 },
    )
  })
}

/** A volume of `count` needles of which only the index is real: opening reads nothing else. */
function writeLargeIndex(directory, count, isDense) {
  const paths = volumePaths(directory, { collection: '', volumeId: volumeId(nextVolumeId++) })
  const sizeBytes = 20
  const length = recordBytes(sizeBytes, 3)
  const rows = Buffer.alloc(count * 16)
  for (let row = 0; row < count; row++) {
    const at = row * 16
    rows.writeUInt32BE(isDense ? 0 : (Math.random() * 2 ** 32) >>> 0, at)
    rows.writeUInt32BE(isDense ? row + 1 : (Math.random() * 2 ** 32) >>> 0, at + 4)
    rows.writeUInt32BE((8 + row * length) / 8, at + 8)
    rows.writeInt32BE(sizeBytes, at + 12)
  }
  const watermarkBytes = 8 + count * length
  writeFileSync(paths.dat, encodeSuperBlock(SUPER_BLOCK))
  truncateSync(paths.dat, watermarkBytes)
  writeFileSync(paths.idx, rows)
  writeFileSync(
    paths.sum,
    encodeChecksumSidecar({
      blockBytes: 2 ** 20,
      watermarkBytes,
      idxBytes: rows.length,
      idxCrc: crc32c(rows),
      compactionRevision: 0,
      isClean: true,
      isSealed: false,
      lastAppendAtNs: 1n,
      blockCrcs: new Uint32Array(Math.ceil(watermarkBytes / 2 ** 20)),
    }),
  )
  return paths
}

export async function benchOpening(isQuick) {
  const count = isQuick ? 1_000_000 : 10_000_000
  for (const isDense of [true, false]) {
    await withDirectory(async (directory) => {
      const paths = writeLargeIndex(directory, count, isDense)
      const bare = () => {
        const startMs = performance.now()
        const bytes = readFileSync(paths.idx)
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
        let sum = 0
        for (let at = 0; at < bytes.length; at += 16) {
          sum ^=
            view.getUint32(at) ^
            view.getUint32(at + 4) ^
            view.getUint32(at + 8) ^
            view.getInt32(at + 12)
        }
        if (sum === 0x7fffffff) console.log('')
        return performance.now() - startMs
      }
      const open = async () => {
        const startMs = performance.now()
        const volume = await Volume.open(parts, paths, { durability: FSYNC, sizeMaxBytes: 2 ** 40 })
        const took = performance.now() - startMs
        if (volume.stats.liveNeedles < count * 0.999) throw new Error('needles are missing')
        if (volume.recovery.indexRebuilt !== undefined)
          throw new Error(volume.recovery.indexRebuilt)
        await volume[Symbol.asyncDispose]()
        globalThis.gc?.()
        return took
      }
      await open()
      const times = await interleave(isQuick ? 3 : 5, { bare, open })
      report(
        `opening ${thousands(count)} needles, ${isDense ? 'dense' : 'random'} ids / bare loop`,
        {
          value: times.open / times.bare,
          unit: '×',
          detail: `${times.open.toFixed(0)} ms, bare ${times.bare.toFixed(0)} ms`,
        },
        { atMost: 3 },
      )
    })
  }
}

/** The needle map by itself, each measurement in a process of its own. */
export function benchNeedleMap(isQuick) {
  const entries = isQuick ? 1_000_000 : 10_000_000
  const count = thousands(entries)
  for (const shape of ['dense', 'random']) {
    const memory = measureMemory(shape, entries)
    const said = { value: memory.bytesPerEntryCollected, unit: 'B', detail: 'RSS a needle' }
    report(`writable map, ${count} ${shape} ids`, said, { atMost: 24 })
    const packing = measurePacking(shape, entries)
    const packed = { value: packing.bytesPerEntry, unit: 'B', detail: 'RSS a needle' }
    report(`sealed map, ${count} ${shape} ids`, packed, { atMost: 13 })
    const lookups = measureLookups(shape, entries)
    const { hashNs, bareNs, packedNs } = lookups
    const detail = `${hashNs} ns, bare ${bareNs} ns; sealed ${packedNs} ns`
    const ratio = { value: lookups.hashToBare, unit: '×', detail }
    report(`lookup / bare probe, ${count} ${shape} ids`, ratio, { atMost: 2 })
    const inserts = measureInserts(shape, entries)
    const pause = { value: inserts.putMsWorst, unit: 'ms', detail: `${inserts.nsPerPut} ns a put` }
    report(`longest put while growing, ${shape} ids`, pause, { atMost: 20 })
  }
}
