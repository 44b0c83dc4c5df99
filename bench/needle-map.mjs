// Speed and memory of the needle maps, on the compiled program (npm run build first):
//
//     node bench/needle-map.mjs [entries]       all measurements, 10 million entries by default
//
// Every measurement runs in a process of its own, so that none inherits the other's memory, caches
// or compiled code. bench/run.mjs uses the exported functions.
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HashNeedleMap } from '../dist/storage/hash-needle-map.js'
import { PackedNeedleMap } from '../dist/storage/packed-needle-map.js'

const ENTRIES = 10_000_000
const LOOKUPS = 2_000_000
const ROUNDS = 3
const ROW_BYTES = 16
const CHUNK_BYTES = 4 * 2 ** 20
const SHAPES = ['dense', 'random']

/** ns for each put into an empty map, and the longest put, while it grows. */
export const measureInserts = (shape, entries = ENTRIES) => inChild('inserts', shape, entries)
/** Resident bytes for each entry of a map grown by puts: at once, and after a collection. */
export const measureMemory = (shape, entries = ENTRIES) => inChild('memory', shape, entries)
/** ns for each lookup in the hash map, in the packed map, and by bare probing of one array. */
export const measureLookups = (shape, entries = ENTRIES) => inChild('lookups', shape, entries)
/** ms to load an index file, and to do no more than read it and touch each row. */
export const measureLoad = (shape, entries = ENTRIES) => inChild('load', shape, entries)
/** Packing: ms in all, the longest slice, resident bytes for each entry. */
export const measurePacking = (shape, entries = ENTRIES) => inChild('packing', shape, entries)

const measurements = {
  inserts(shape, entries) {
    const map = new HashNeedleMap({ version: 3 })
    const id = { hi: 0, lo: 0 }
    let start = performance.now()
    for (let i = 0; i < entries; i++) {
      setId(id, shape, i)
      map.put(id, (i + 1) * 8, 1000)
    }
    const nsPerPut = nsSince(start, entries)
    // Again, looking at the clock each time. The pauses of an idle loop are those of the machine.
    const timed = new HashNeedleMap({ version: 3 })
    const pauses = []
    start = performance.now()
    for (let i = 0; i < entries; i++) {
      setId(id, shape, i)
      timed.put(id, (i + 1) * 8, 1000)
      const now = performance.now()
      if (now - start > 0.5) pauses.push(now - start)
      start = now
    }
    return { nsPerPut, ...worst('putMs', pauses), ...worst('idleMs', idlePauses(entries)) }
  },

  memory(shape, entries) {
    globalThis.gc()
    const before = process.memoryUsage().rss
    const map = new HashNeedleMap({ version: 3 })
    const id = { hi: 0, lo: 0 }
    const perEntry = (count) => round((process.memoryUsage().rss - before) / count)
    let worstBytes = 0
    for (let i = 1; i <= entries; i++) {
      setId(id, shape, i)
      map.put(id, i * 8, 1000)
      if (i >= entries * 0.8 && i % 50_000 === 0) worstBytes = Math.max(worstBytes, perEntry(i))
    }
    const atOnce = perEntry(entries)
    globalThis.gc()
    return {
      bytesPerEntry: atOnce,
      bytesPerEntryCollected: perEntry(entries),
      worstOfLastFifth: worstBytes,
      saidByMap: round(map.memoryBytes / entries),
    }
  },

  async lookups(shape, entries) {
    const hash = loadedMap(shape, entries)
    const packed = await PackedNeedleMap.build(hash, { version: 3, yieldTurn })
    const bare = bareTable(shape, entries, entries / (hash.memoryBytes / 16))
    const his = new Uint32Array(LOOKUPS)
    const los = new Uint32Array(LOOKUPS)
    const id = { hi: 0, lo: 0 }
    for (let i = 0; i < LOOKUPS; i++) {
      setId(id, shape, mix(i + 99) % entries)
      his[i] = id.hi
      los[i] = id.lo
    }
    const times = { bare: [], hash: [], packed: [] }
    for (let round = -1; round < ROUNDS; round++) {
      const ns = {
        bare: timeLookups(() => bareLookups(bare, his, los)),
        hash: timeLookups(() => hashLookups(hash, his, los)),
        packed: timeLookups(() => packedLookups(packed, his, los)),
      }
      if (round < 0) continue // Warming up.
      for (const name of Object.keys(times)) times[name].push(ns[name])
    }
    const [bareNs, hashNs, packedNs] = Object.values(times).map(median)
    return {
      bareNs,
      hashNs,
      packedNs,
      hashToBare: round(hashNs / bareNs),
      packedToBare: round(packedNs / bareNs),
    }
  },

  load(shape, entries) {
    const path = join(tmpdir(), `needle-map-bench-${process.pid}.idx`)
    try {
      writeRows(path, shape, entries)
      const times = { baseline: [], load: [] }
      for (let round = 0; round < ROUNDS; round++) {
        times.baseline.push(timeMs(() => touchRows(path)))
        times.load.push(timeMs(() => loadFile(path)))
        globalThis.gc()
      }
      const [baselineMs, loadMs] = Object.values(times).map(median)
      const coldMs = Math.round(times.load[0])
      return { baselineMs, loadMs, loadFirstMs: coldMs, ratio: round(loadMs / baselineMs) }
    } finally {
      rmSync(path, { force: true })
    }
  },

  async packing(shape, entries) {
    let source = loadedMap(shape, entries)
    globalThis.gc()
    const slices = []
    let sliceStart = performance.now()
    const start = sliceStart
    const before = process.memoryUsage().rss
    const packed = await PackedNeedleMap.build(source, {
      version: 3,
      yieldTurn: async () => {
        slices.push(performance.now() - sliceStart)
        await yieldTurn()
        sliceStart = performance.now()
      },
    })
    const buildMs = Math.round(performance.now() - start)
    source = undefined
    return {
      bytesPerEntry: round((process.memoryUsage().rss - before) / entries),
      saidByMap: round(packed.memoryBytes / entries),
      buildMs,
      ...worst('sliceMs', slices),
    }
  },
}

/** The id with a number: in sequence from 1000 on, or 64 bits without any order. */
function setId(id, shape, number) {
  id.hi = shape === 'dense' ? 0 : mix(number)
  id.lo = shape === 'dense' ? number + 1000 : mix(number ^ 0x5bd1e995)
}

function mix(number) {
  let bits = Math.imul(number ^ (number >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

function loadedMap(shape, entries) {
  const map = new HashNeedleMap({ version: 3, expectedCount: entries })
  for (const rows of rowChunks(shape, entries)) map.loadRows(rows, rows.length, 4)
  return map
}

function* rowChunks(shape, entries) {
  const id = { hi: 0, lo: 0 }
  for (let first = 0; first < entries; first += CHUNK_BYTES / ROW_BYTES) {
    const count = Math.min(CHUNK_BYTES / ROW_BYTES, entries - first)
    const rows = Buffer.allocUnsafe(count * ROW_BYTES)
    const view = new DataView(rows.buffer, rows.byteOffset, rows.length)
    for (let i = 0; i < count; i++) {
      setId(id, shape, first + i)
      view.setUint32(i * ROW_BYTES, id.hi)
      view.setUint32(i * ROW_BYTES + 4, id.lo)
      view.setUint32(i * ROW_BYTES + 8, first + i + 1)
      view.setUint32(i * ROW_BYTES + 12, 1000)
    }
    yield rows
  }
}

function writeRows(path, shape, entries) {
  const fd = openSync(path, 'w')
  for (const rows of rowChunks(shape, entries)) writeSync(fd, rows)
  closeSync(fd)
}

function touchRows(path) {
  const rows = readFileSync(path)
  const view = new DataView(rows.buffer, rows.byteOffset, rows.length)
  let sum = 0
  for (let at = 0; at < rows.length; at += ROW_BYTES) sum ^= view.getUint32(at)
  return sum
}

function loadFile(path) {
  const { size } = statSync(path)
  const map = new HashNeedleMap({ version: 3, expectedCount: size / ROW_BYTES })
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  const fd = openSync(path, 'r')
  for (let at = 0; at < size; ) {
    const length = readSync(fd, chunk, 0, CHUNK_BYTES, at)
    map.loadRows(chunk, length, 4)
    at += length
  }
  closeSync(fd)
  return map.entryCount
}

/** The yardstick: the same slots in one array, hashed and probed with nothing around it. */
function bareTable(shape, entries, load) {
  const slots = Math.floor(entries / load)
  const words = new Int32Array(new SharedArrayBuffer(slots * 16))
  const id = { hi: 0, lo: 0 }
  for (let i = 0; i < entries; i++) {
    setId(id, shape, i)
    const hash = mix(id.lo ^ Math.imul(id.hi, 0x9e3779b1))
    let slot = Math.floor((hash * slots) / 2 ** 32)
    while (words[slot * 4 + 2] !== 0) slot = slot + 1 === slots ? 0 : slot + 1
    words.set([id.lo | 0, id.hi | 0, i + 1, 1000], slot * 4)
  }
  return { words, slots }
}

function bareLookups({ words, slots }, his, los) {
  let found = 0
  for (let i = 0; i < his.length; i++) {
    const hi = his[i] | 0
    const lo = los[i] | 0
    const hash = mix(lo ^ Math.imul(hi, 0x9e3779b1))
    let slot = Math.floor((hash * slots) / 2 ** 32)
    for (;;) {
      const at = slot * 4
      if (words[at] === lo && words[at + 1] === hi && words[at + 2] !== 0) {
        found += words[at + 3]
        break
      }
      if (words[at + 2] === 0) break
      slot = slot + 1 === slots ? 0 : slot + 1
    }
  }
  return found
}

// One function for each map, so that each is compiled for one kind of map, as in the program.
function hashLookups(map, his, los) {
  const id = { hi: 0, lo: 0 }
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  let found = 0
  for (let i = 0; i < his.length; i++) {
    id.hi = his[i]
    id.lo = los[i]
    if (map.lookup(id, location)) found += location.sizeBytes
  }
  return found
}

function packedLookups(map, his, los) {
  const id = { hi: 0, lo: 0 }
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  let found = 0
  for (let i = 0; i < his.length; i++) {
    id.hi = his[i]
    id.lo = los[i]
    if (map.lookup(id, location)) found += location.sizeBytes
  }
  return found
}

function timeLookups(look) {
  const start = performance.now()
  const found = look()
  if (found !== LOOKUPS * 1000) throw new Error(`found ${found / 1000} of ${LOOKUPS}`)
  return nsSince(start, LOOKUPS)
}

function timeMs(work) {
  const start = performance.now()
  work()
  return performance.now() - start
}

function idlePauses(turns) {
  const pauses = []
  let start = performance.now()
  const id = { hi: 0, lo: 0 }
  for (let i = 0; i < turns * 4; i++) {
    setId(id, 'random', i)
    const now = performance.now()
    if (now - start > 0.5) pauses.push(now - start)
    start = now
  }
  return pauses
}

function worst(name, values) {
  const sorted = values.sort((a, b) => b - a)
  return {
    [`${name}Worst`]: round(sorted[0] ?? 0),
    [`${name}Fifth`]: round(sorted[4] ?? 0),
    [`${name}Over2`]: sorted.filter((value) => value > 2).length,
  }
}

function yieldTurn() {
  return new Promise((resolve) => setImmediate(resolve))
}

function nsSince(start, count) {
  return round(((performance.now() - start) / count) * 1e6)
}

function median(values) {
  return round(values.toSorted((a, b) => a - b)[values.length >> 1])
}

function round(value) {
  return Math.round(value * 100) / 100
}

function inChild(name, shape, entries) {
  const args = ['--expose-gc', fileURLToPath(import.meta.url), name, shape, String(entries)]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, shape, entries] = process.argv.slice(2)
  if (shape !== undefined) {
    console.log(JSON.stringify(await measurements[name](shape, Number(entries))))
  } else {
    for (const measure of Object.keys(measurements)) {
      for (const kind of SHAPES) {
        console.log(measure, kind, inChild(measure, kind, Number(name ?? ENTRIES)))
      }
    }
  }
}
