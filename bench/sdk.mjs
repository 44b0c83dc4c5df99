/** The client SDK against a store in another process. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { HayloftClient, parseFileId } from '../dist/index.js'
import { RemoteVolume } from '../dist/net/remote-volume.js'
import { systemClock } from '../dist/runtime/clock.js'
import { cryptoRandom } from '../dist/runtime/random.js'
import { startStore } from './http.mjs'
import { interleave, median, perSecond, report, thousands } from './measure.mjs'
import { cpuUs, owning, rssBytes } from './processes.mjs'

const MIB = 2 ** 20
const LARGE_BYTES = 256 * MIB
const IN_FLIGHT = 64
const LEASE = 10_000
const UNARY_LEASES = 6

export async function benchSdk(isQuick) {
  const directory = await mkdtemp(join(tmpdir(), 'hayloft-bench-'))
  try {
    for (const durability of ['none', 'fsync']) {
      await owning(async (own) => {
        const store = own(await startStore({ dir: join(directory, durability), durability }))
        const masters = store.ready.masterUrl.replace('http://', '')
        const client = own(await HayloftClient.connect({ masters }))
        await benchSmall(client, store, { durability, count: isQuick ? 20_000 : 60_000 })
        await benchLarge(client, store, { durability, isQuick })
      })
    }
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function inFlight(count, put) {
  const latencies = []
  let next = 0
  const work = async () => {
    while (next < count) {
      const index = next++
      const startedMs = performance.now()
      await put(index)
      latencies.push(performance.now() - startedMs)
    }
  }
  const startedMs = performance.now()
  await Promise.all(Array.from({ length: IN_FLIGHT }, work))
  const tookMs = performance.now() - startedMs
  latencies.sort((a, b) => a - b)
  return { perSecond: perSecond(count, tookMs), p99Ms: latencies[Math.floor(count * 0.99)] }
}

async function benchSmall(client, store, { durability, count }) {
  const data = randomBytes(1024)
  const unary = await openUnary(store)
  const p99 = { stream: [], unary: [] }
  const measure = (name, total, put) => async () => {
    const found = await inFlight(total, put)
    p99[name].push(found.p99Ms)
    return found.perSecond
  }
  const found = await interleave(3, {
    stream: measure('stream', count, () => client.put(data, {})),
    unary: measure('unary', count / 5, () => unary.put(data)),
  })
  const detail =
    `${thousands(found.stream)}/${thousands(found.unary)}, ` +
    `p99 ${median(p99.stream).toFixed(1)}/${median(p99.unary).toFixed(1)} ms`
  const value = found.stream / found.unary
  report(`SDK puts / unary gRPC puts, ${durability}`, { value, unit: 'x', detail }, { atLeast: 4 })
  await unary.close()
}

/** The same puts, one gRPC call each. */
async function openUnary(store) {
  const leases = []
  for (let n = 0; n < UNARY_LEASES; n++) {
    const answer = await fetch(`${store.ready.masterUrl}/dir/assign?count=${LEASE}`)
    leases.push(await answer.json())
  }
  const volume = connectTo(leases[0].url)
  const fileIds = leases.flatMap(({ fid, url }) =>
    url === leases[0].url
      ? Array.from({ length: LEASE }, (_, n) => parseFileId(`${fid}_${n}`))
      : [],
  )
  let next = 0
  const signal = new AbortController().signal
  return {
    put: (data) => {
      const fileId = fileIds[next++]
      const request = { fileId, data, metadata: {}, writeToken: '', isReplica: false }
      return volume.putOverGrpc(request, signal)
    },
    close: () => volume[Symbol.asyncDispose](),
  }
}

function connectTo(url) {
  const [host, port] = url.split(':')
  const location = { url, grpcAddress: `${host}:${Number(port) + 10_000}` }
  const parts = { clock: systemClock, random: cryptoRandom }
  return new RemoteVolume(parts, { location, timeoutMs: 10_000 })
}

async function benchLarge(client, store, { durability, isQuick }) {
  const data = Buffer.alloc(LARGE_BYTES, randomBytes(MIB))
  const idle = { client: process.memoryUsage.rss(), server: rssBytes(store.pid) }
  const rates = { write: [], read: [] }
  let peakServer = 0
  let peakClient = 0
  const look = setInterval(() => {
    peakServer = Math.max(peakServer, rssBytes(store.pid))
    peakClient = Math.max(peakClient, process.memoryUsage.rss())
  }, 20)
  const cpuBefore = cpuUs(store.pid)
  for (let round = 0; round < (isQuick ? 1 : 3); round++) {
    let startedMs = performance.now()
    const { fileId } = await client.put(pieces(data), {})
    rates.write.push(LARGE_BYTES / 1e6 / ((performance.now() - startedMs) / 1000))
    startedMs = performance.now()
    let read = 0
    for await (const piece of client.getStream(fileId, {})) read += piece.length
    if (read !== LARGE_BYTES) throw new Error(`${read} bytes came back`)
    rates.read.push(LARGE_BYTES / 1e6 / ((performance.now() - startedMs) / 1000))
    await client.delete(fileId)
  }
  clearInterval(look)
  const cpuS = (cpuUs(store.pid) - cpuBefore) / 1e6
  const detail = `server ${cpuS.toFixed(1)} s CPU`
  const write = { value: median(rates.write), unit: 'MB/s', detail }
  report(`256 MiB write, ${durability}`, write, { atLeast: 400 })
  report(
    `256 MiB read, ${durability}`,
    { value: median(rates.read), unit: 'MB/s' },
    { atLeast: 600 },
  )
  const above = (peak, from) => ({ value: Math.max(0, peak - from) / MIB, unit: 'MiB' })
  report(`client memory above idle, ${durability}`, above(peakClient, idle.client), { atMost: 64 })
  report(`server memory above idle, ${durability}`, above(peakServer, idle.server), { atMost: 64 })
}

async function* pieces(data) {
  for (let at = 0; at < data.length; at += MIB) yield data.subarray(at, at + MIB)
}
