/** What erasure coding costs: encode, repair, degraded reads, and readers meanwhile. */
import { copyFile, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { newColumn } from '../dist/erasure/erasure-codec.js'
import { RonomonCodec } from '../dist/erasure/ronomon-codec.js'
import { RemoteMaster } from '../dist/net/remote-master.js'
import { VolumeConnections } from '../dist/net/volume-connections.js'
import { systemClock } from '../dist/runtime/clock.js'
import { silentLogger } from '../dist/runtime/logger.js'
import { cryptoRandom } from '../dist/runtime/random.js'
import {
  inDirectory,
  repeat,
  runJob,
  startCluster,
  storeInOneVolume,
  volumeDirectory,
} from './cluster.mjs'
import { fill } from './http.mjs'
import { interleave, median, report, thousands } from './measure.mjs'
import { owning, rssBytes, wrk } from './processes.mjs'

const KIB = 2 ** 10
const MIB = 2 ** 20
const GIB = 2 ** 30
const ROUNDS = 3
const GRPC_OFFSET = 10_000
const RS_10_4 = { dataShards: 10, parityShards: 4 }
const RS_4_2 = { dataShards: 4, parityShards: 2 }
const NEVER = new AbortController().signal
const QUIET = ['--check', '1h', '--repair-delay', '1h', '--scrub-every', '3650d']

/** `parts`: some of encode, repair, degraded, reads; all of them unless given. */
export async function benchErasure(isQuick, parts) {
  const isWanted = (part) => parts.length === 0 || parts.includes(part)
  if (isWanted('encode')) await inDirectory((directory) => benchEncode(directory, isQuick))
  if (isWanted('repair')) await inDirectory((directory) => benchRepairShard(directory, isQuick))
  if (isWanted('degraded')) {
    for (const [scheme, serverCount] of [
      [RS_4_2, 6],
      [RS_10_4, 6],
      [RS_10_4, 14],
    ]) {
      await inDirectory((directory) => benchDegraded(directory, isQuick, { scheme, serverCount }))
    }
  }
  if (isWanted('reads'))
    await inDirectory((directory) => benchReadsDuringEncode(directory, isQuick))
}

/** Commands to volume servers, as a job sends them. */
async function openCommands(own, directory, cluster) {
  const secretText = await readFile(join(directory, 'master', 'cluster.secret'), 'utf8')
  const secret = Buffer.from(secretText.trim(), 'hex')
  const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
  const { connect } = own(await VolumeConnections.open(parts, { secret }))
  const { port } = new URL(cluster.masterUrl)
  const addresses = [`127.0.0.1:${Number(port) + GRPC_OFFSET}`]
  const master = own(await RemoteMaster.open(parts, { addresses, secret, timeoutMs: 30_000 }))
  const { epoch } = await master.status(NEVER)
  const { nodes } = await master.topology(NEVER)
  const locationOf = (number) => {
    return nodes.find(({ location }) => location.url === cluster.urlOf(number)).location
  }
  return { epoch, locationOf, shardsOf: (number) => connect(locationOf(number)).shards }
}

async function drain(stream) {
  let last
  for await (const progress of stream) last = progress
  return last
}

/** One volume of about `bytes`, and how long it is. */
async function bigVolume(directory, { masterUrl }, bytes) {
  const { volumeId } = await storeInOneVolume(masterUrl, mebibytes(bytes), 'big')
  for (const name of await readdir(volumeDirectory(directory, 1))) {
    if (!name.endsWith(`_${volumeId}.dat`)) continue
    const path = join(volumeDirectory(directory, 1), name)
    return { volumeId, path, datBytes: (await stat(path)).size }
  }
  throw new Error(`volume ${volumeId} has no file`)
}

const mebibytes = (bytes) => new Array(bytes / MIB).fill(MIB)

let lastRun = BigInt(Date.now()) * 1_000_000n

function nextRunId() {
  lastRun += 1n
  return lastRun.toString()
}

/** Growth of the memory of a process while `run` runs. */
async function grownBy(pid, run) {
  await writeFile(`/proc/${pid}/clear_refs`, '5')
  const before = rssBytes(pid)
  await run()
  const [, kib] = /VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))
  return Number(kib) * KIB - before
}

function benchEncode(directory, isQuick) {
  return owning(async (own) => {
    // One volume takes it all.
    const flags = [...QUIET, '--volume-size', '30GiB']
    const cluster = await startCluster(own, directory, flags)
    const server = own(await cluster.startVolume(1))
    const { volumeId, path, datBytes } = await bigVolume(
      directory,
      cluster,
      isQuick ? GIB / 2 : 4 * GIB,
    )
    const { epoch, shardsOf } = await openCommands(own, directory, cluster)
    const grown = []
    const command = { epoch, volumeId, ...RS_10_4, politeness: 0 }
    const blocks = { largeBlockBytes: GIB, smallBlockBytes: MIB }
    const timed = async (run) => {
      const startedMs = performance.now()
      await run()
      return datBytes / (performance.now() - startedMs)
    }
    const encode = async () => {
      const runId = nextRunId()
      let rate = 0
      grown.push(
        await grownBy(server.pid, async () => {
          rate = await timed(() =>
            drain(shardsOf(1).encodeVolume({ ...command, ...blocks, runId }, NEVER)),
          )
        }),
      )
      const all = Array.from({ length: 14 }, (_, shard) => shard)
      await shardsOf(1).deleteShards({ epoch, volumeId, runId, shards: all }, NEVER)
      await sleep(2000)
      return rate
    }
    const rates = await interleave(ROUNDS, {
      encode,
      codec: () => timed(() => bareEncode(datBytes)),
      copy: () => timed(() => bareCopy(path, join(directory, 'copy'), 1.4)),
    })
    const slower = Math.min(rates.codec, rates.copy)
    const detail = `${mb(rates.encode)}; bare codec ${mb(rates.codec)}, copy ×1.4 ${mb(rates.copy)}`
    report(
      'encode RS(10,4) / slower of codec and copy',
      { value: rates.encode / slower, unit: 'x', detail },
      { atLeast: 0.7 },
    )
    // The most of all rounds: the later ones find memory that the first has taken.
    report('memory of an encode', { value: Math.max(...grown) / MIB, unit: 'MiB' }, { atMost: 64 })
  })
}

const mb = (bytesPerMs) => `${Math.round(bytesPerMs / 1000)} MB/s`

/** Nothing but the codec, on memory that is used again, one column after the other. */
async function bareEncode(bytes) {
  const codec = RonomonCodec.open(RS_10_4)
  const column = newColumn(codec)
  const columnBytes = codec.dataShards * codec.unitBytes
  for (let done = 0; done < bytes; done += columnBytes) await codec.encode(column)
}

async function bareRebuild(bytes) {
  const codec = RonomonCodec.open(RS_10_4)
  const column = newColumn(codec)
  const columnBytes = codec.dataShards * codec.unitBytes
  const present = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  for (let done = 0; done < bytes; done += columnBytes) await codec.rebuild(column, present, [0])
}

/** The file and a share more of it, copied by the system and synced. */
async function bareCopy(from, to, factor) {
  await copyFile(from, to)
  const { size } = await stat(from)
  await owning(async (own) => {
    const target = own(await opened(to, 'r+'))
    const source = own(await opened(from, 'r'))
    await copyBytes(source, target, Math.round(size * (factor - 1)), size)
    await target.sync()
  })
  await rm(to)
}

/** Reads k shards and writes one, synced. */
async function bareRepair(paths, to) {
  await owning(async (own) => {
    const target = own(await opened(to, 'w'))
    for (const [index, path] of paths.entries()) {
      const source = own(await opened(path, 'r'))
      const { size } = await source.stat()
      await copyBytes(source, index === 0 ? target : undefined, size, 0)
    }
    await target.sync()
  })
  await rm(to)
}

async function copyBytes(source, target, bytes, at) {
  const piece = Buffer.alloc(MIB)
  for (let done = 0; done < bytes; done += piece.length) {
    await source.read(piece, 0, piece.length, done)
    await target?.write(piece, 0, piece.length, at + done)
  }
}

/** A file that `owning` closes. */
async function opened(path, flags) {
  const handle = await open(path, flags)
  handle[Symbol.asyncDispose] ??= () => handle.close()
  return handle
}

function benchRepairShard(directory, isQuick) {
  return owning(async (own) => {
    const flags = [...QUIET, '--volume-size', '30GiB']
    const cluster = await startCluster(own, directory, flags)
    own(await cluster.startVolume(1))
    const { volumeId, datBytes } = await bigVolume(directory, cluster, isQuick ? GIB / 2 : 4 * GIB)
    own(await cluster.startVolume(2))
    const { epoch, locationOf, shardsOf } = await openCommands(own, directory, cluster)
    const runId = nextRunId()
    const blocks = { largeBlockBytes: GIB, smallBlockBytes: MIB }
    const command = { epoch, volumeId, runId, politeness: 0 }
    await drain(shardsOf(1).encodeVolume({ ...command, ...RS_10_4, ...blocks }, NEVER))
    const sources = Array.from({ length: 13 }, (_, index) => ({
      shard: index + 1,
      location: locationOf(1),
    }))
    const shard0 = { epoch, volumeId, runId, shards: [0] }
    const rebuildAt = (number) => async () => {
      await shardsOf(number).deleteShards(shard0, NEVER)
      await sleep(1000)
      const rebuild = { ...command, collection: 'big', shards: [0], sources }
      const startedMs = performance.now()
      await drain(shardsOf(number).rebuildShards(rebuild, NEVER))
      return datBytes / (performance.now() - startedMs)
    }
    const timed = async (run) => {
      const startedMs = performance.now()
      await run()
      return datBytes / (performance.now() - startedMs)
    }
    const paths = await shardPaths(volumeDirectory(directory, 1))
    const rates = await interleave(ROUNDS, {
      repair: rebuildAt(1),
      remote: rebuildAt(2),
      codec: () => timed(() => bareRebuild(datBytes)),
      disk: () => timed(() => bareRepair(paths.slice(1, 11), join(directory, 'copy'))),
    })
    const slower = Math.min(rates.codec, rates.disk)
    const beside = `bare decode ${mb(rates.codec)}, disk ${mb(rates.disk)}`
    const detail = `${mb(rates.repair)} of shards read; ${beside}`
    report(
      'repair of a shard / slower of decode and disk',
      { value: rates.repair / slower, unit: 'x', detail },
      { atLeast: 0.7 },
    )
    report('the same from another server', {
      value: rates.remote / slower,
      unit: 'x',
      detail: mb(rates.remote),
    })
  })
}

async function shardPaths(directory) {
  const [run] = (await readdir(directory)).filter((name) => /\.ec-\d+$/.test(name))
  const names = (await readdir(join(directory, run))).filter((name) => /\.ec\d\d$/.test(name))
  return names.sort().map((name) => join(directory, run, name))
}

/** GETs one after the other over one connection, in microseconds each. */
async function latencies(url, fileIds) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const [host, port] = url.split(':')
  const get = (fileId) =>
    new Promise((resolve, reject) => {
      const asked = httpRequest({ host, port, path: `/${fileId}`, agent }, (answer) => {
        let bytes = 0
        answer.on('data', (data) => (bytes += data.length))
        answer.on('end', () =>
          answer.statusCode === 200 ? resolve(bytes) : reject(new Error(`${answer.statusCode}`)),
        )
      })
      asked.on('error', reject)
      asked.end()
    })
  const found = []
  for (const fileId of fileIds) {
    const startedMs = performance.now()
    await get(fileId)
    found.push((performance.now() - startedMs) * 1000)
  }
  agent.destroy()
  return found
}

/** Files of 1 KiB that lie far apart, so that none is near what was just made anew. */
function benchDegraded(directory, isQuick, { scheme, serverCount }) {
  return owning(async (own) => {
    const { dataShards, parityShards } = scheme
    const flags = [...QUIET, '--volume-size', '30GiB']
    const cluster = await startCluster(own, directory, flags)
    const servers = []
    for (let number = 1; number <= serverCount; number++)
      servers.push(own(await cluster.startVolume(number)))
    const { jobs, masterUrl } = cluster
    const files = isQuick ? 1000 : 4800
    const sizes = new Array(files).fill([140 * KIB, KIB]).flat()
    const { volumeId, ids } = await storeInOneVolume(masterUrl, sizes, 'far')
    await runJob(jobs, 'ec-encode', { volumeId, erasure: scheme })
    await sleep(3000)
    const mine = ids.filter((_, index) => index % 2 === 1)
    const { stripe } = await jobs.volumeFacts(volumeId, NEVER)
    const urls = stripe.shards.map(({ location }) => location.url)
    const lostUrl = urls[0]
    const lostCount = urls.slice(0, dataShards).filter((url) => url === lostUrl).length
    // Asked at the holder of a parity shard: it has as little as can be of the data.
    const url = urls.findLast((other) => other !== lostUrl)
    for (let round = 0; round < 3; round++) await latencies(url, mine)
    const lost = servers.find((_, index) => cluster.urlOf(index + 1) === lostUrl)
    await lost.kill()
    await sleep(3000)
    // What was made is kept, so each is read once: some to get going, the rest in rounds.
    const share = Math.floor(mine.length / (ROUNDS + 1))
    await latencies(url, mine.slice(0, share))
    const rounds = []
    for (let round = 1; round <= ROUNDS; round++) {
      const found = await latencies(url, mine.slice(round * share, (round + 1) * share))
      found.sort((a, b) => b - a)
      // Those that lay on the lost server took the long way: the slowest of as many as it had.
      const degradedCount = Math.floor((found.length * lostCount) / dataShards)
      const degraded = median(found.slice(0, degradedCount))
      const healthy = median(found.slice(degradedCount))
      rounds.push({ degraded, healthy, ratio: degraded / healthy })
    }
    const us = (name) => `${Math.round(median(rounds.map((round) => round[name])))} µs`
    const detail = `${us('degraded')}, healthy remote ${us('healthy')}`
    const coded = `RS(${dataShards},${parityShards}) on ${serverCount} servers`
    const name = `degraded read, ${coded} / healthy`
    const value = median(rounds.map(({ ratio }) => ratio))
    report(name, { value, unit: 'x', detail }, { atMost: 4 })
  })
}

function benchReadsDuringEncode(directory, isQuick) {
  return owning(async (own) => {
    const cluster = await startCluster(own, directory, [...QUIET, '--volume-size', '30GiB'])
    const { jobs } = cluster
    const first = own(await cluster.startVolume(1))
    const bytes = isQuick ? GIB / 4 : GIB
    const { volumeId } = await storeInOneVolume(cluster.masterUrl, mebibytes(bytes), 'bulk')
    const pathsFile = join(directory, 'paths')
    await fill(cluster.masterUrl, pathsFile, 'collection=read')
    const url = `http://${cluster.urlOf(1)}`
    const options = {
      url,
      script: 'get.lua',
      args: [pathsFile],
      connections: 32,
      seconds: isQuick ? 3 : 8,
    }
    const get = async () => {
      const result = await wrk(first.pid, options)
      if (result.errors > 0) throw new Error(`${result.errors} reads failed`)
      return result.perSecond
    }
    await get()
    const runs = []
    let count = 0
    for (let round = 0; round < ROUNDS; round++) {
      const idle = await get()
      const stop = new AbortController()
      const working = repeat(stop.signal, async () => {
        await runJob(jobs, 'ec-encode', { volumeId, erasure: RS_10_4 })
        await runJob(jobs, 'ec-decode', { volumeId })
        count++
      })
      const busy = await get()
      stop.abort()
      await working
      runs.push({ busy, ratio: busy / idle })
    }
    const perSecond = thousands(median(runs.map(({ busy }) => busy)))
    const detail = `${perSecond}/s, ${count} times coded and decoded`
    const value = median(runs.map(({ ratio }) => ratio))
    report('reads during an encode / idle', { value, unit: 'x', detail }, { atLeast: 0.7 })
  })
}
