/** What jobs cost those who read meanwhile, and how fast a lost server is made good. */
import { randomBytes } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HayloftClient } from '../dist/index.js'
import { RemoteJobs } from '../dist/net/remote-jobs.js'
import { systemClock } from '../dist/runtime/clock.js'
import { silentLogger } from '../dist/runtime/logger.js'
import { cryptoRandom } from '../dist/runtime/random.js'
import { fill } from './http.mjs'
import { median, report, thousands } from './measure.mjs'
import { owning, startProcess, wrk } from './processes.mjs'

const MIB = 2 ** 20
const GIB = 2 ** 30
const PARTS = 4
const GRPC_OFFSET = 10_000
const NEVER = new AbortController().signal
const MAIN = new URL('../dist/cli/main.js', import.meta.url).pathname

let nextPort = 11_000 + Math.floor(Math.random() * 9_000)

/** `parts`: some of reads, repair; all of them unless given. */
export async function benchRepair(isQuick, parts) {
  const isWanted = (part) => parts.length === 0 || parts.includes(part)
  if (isWanted('reads')) await inDirectory((directory) => benchReadsDuringJobs(directory, isQuick))
  if (isWanted('repair')) await inDirectory((directory) => benchLostServer(directory, isQuick))
}

async function inDirectory(run) {
  const directory = await mkdtemp(join(tmpdir(), 'hayloft-bench-'))
  try {
    await run(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** A daemon of its own process. */
function startDaemon(args) {
  const flags = [
    ...(process.env.HL_PROF ? ['--cpu-prof', '--cpu-prof-dir=/tmp/hl/cprof'] : []),
    MAIN,
    ...args,
    '--log-level',
    'warn',
  ]
  return startProcess('node', flags, (said) => (said ? true : undefined))
}

/** The answer of a GET once it is as it should be. */
async function waitForAnswer(url, isAsWanted) {
  for (let tried = 0; tried < 300; tried++) {
    const answer = await fetch(url).catch(() => undefined)
    const text = await answer?.text()
    if (answer?.ok && isAsWanted(text)) return
    await sleep(50)
  }
  throw new Error(`${url} did not become what it should be`)
}

/** A master, and a way to start volume servers by number. */
async function startCluster(own, directory, masterFlags) {
  const port = nextPort++
  const dir = join(directory, 'master')
  const place = ['--dir', dir, '--port', String(port)]
  const masterUrl = `http://127.0.0.1:${port}`
  own(await startDaemon(['master', ...place, ...masterFlags]))
  await waitForAnswer(`${masterUrl}/healthz`, () => true)
  const secretFile = join(dir, 'cluster.secret')
  const secret = Buffer.from((await readFile(secretFile, 'utf8')).trim(), 'hex')
  const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
  const addresses = [`127.0.0.1:${port + GRPC_OFFSET}`]
  const jobs = own(await RemoteJobs.open(parts, { addresses, secret, timeoutMs: 30_000 }))
  const client = own(await HayloftClient.connect({ masters: `127.0.0.1:${port}` }))
  const ports = new Map()
  const startVolume = async (number) => {
    if (!ports.has(number)) ports.set(number, nextPort++)
    const at = ports.get(number)
    const where = ['--dir', volumeDirectory(directory, number), '--port', String(at)]
    const cluster = ['--master', `127.0.0.1:${port}`, '--secret-file', secretFile]
    const flags = ['--durability', 'none', '--volume-size', '30GiB']
    const server = await startDaemon(['volume', ...where, ...cluster, ...flags])
    await waitForAnswer(`${masterUrl}/dir/status`, (text) => text.includes(`127.0.0.1:${at}`))
    return server
  }
  return {
    masterUrl,
    jobs,
    client,
    startVolume,
    urlOf: (number) => `127.0.0.1:${ports.get(number)}`,
  }
}

function volumeDirectory(directory, number) {
  return join(directory, `volume-${number}`)
}

async function storeBulk(client, bytes, collection) {
  const data = randomBytes(MIB)
  const ids = []
  let left = Math.ceil(bytes / MIB)
  const put = async () => {
    while (left-- > 0) ids.push((await client.put(data, { collection })).fileId)
  }
  await Promise.all(Array.from({ length: 8 }, put))
  return ids
}

async function runJob(jobs, kind, target) {
  const { id } = await jobs.runJob({ kind, target, reason: 'bench' }, NEVER)
  for (;;) {
    const job = (await jobs.listJobs({ withEnded: true }, NEVER)).find((each) => each.id === id)
    if (job?.state === 'done') return job
    if (job?.state === 'failed') throw new Error(JSON.stringify(job))
    await sleep(300)
  }
}

/**
 * GETs of small files from one server, as fast as wrk can, while jobs work on other, large volumes
 * of the same server: again and again for as long as the measurement takes.
 */
function benchReadsDuringJobs(directory, isQuick) {
  return owning(async (own) => {
    const flags = ['--check', '1h', '--scrub-every', '3650d', '--volume-size', '30GiB']
    const cluster = await startCluster(own, directory, flags)
    const { jobs, client } = cluster
    const first = own(await cluster.startVolume(1))
    // Of a collection each, so that they are several volumes.
    const bulk = []
    for (let part = 0; part < PARTS; part++) {
      const bytes = (isQuick ? GIB / 2 : 2 * GIB) / PARTS
      bulk.push(...(await storeBulk(client, bytes, `bulk${part}`)))
    }
    own(await cluster.startVolume(2))
    const pathsFile = join(directory, 'paths')
    // With a copy on either server they stay where they are, whatever is moved.
    await fill(cluster.masterUrl, pathsFile, 'collection=read&replication=001')
    const url = `http://${cluster.urlOf(1)}`
    const volumes = bySize(bulk)
    const [volumeId] = volumes
    const move = async (volumeId) => {
      const onFirst = await holds(jobs, volumeId, cluster.urlOf(1))
      const [node, toNode] = onFirst ? [1, 2] : [2, 1]
      const target = { volumeId, node: cluster.urlOf(node), toNode: cluster.urlOf(toNode) }
      await runJob(jobs, 'move', target)
    }
    const allHome = async () => {
      for (const each of volumes) {
        if (!(await holds(jobs, each, cluster.urlOf(1)))) await move(each)
      }
    }
    const works = {
      vacuum: async () => {
        const doomed = bulk.filter((id) => id.startsWith(`${volumeId},`)).slice(0, 10)
        for (const id of doomed) await client.delete(bulk.splice(bulk.indexOf(id), 1)[0])
        await runJob(jobs, 'vacuum', { volumeId })
      },
      move: () => move(volumeId),
      scrub: () => runJob(jobs, 'scrub', { volumeId }),
      rebalance: async () => {
        await runJob(jobs, 'rebalance', {})
        await allHome()
      },
    }
    const seconds = isQuick ? 3 : 8
    const get = async () => {
      const options = { url, script: 'get.lua', args: [pathsFile], connections: 32, seconds }
      const result = await wrk(first.pid, options)
      if (result.errors > 0) throw new Error(`${result.errors} reads failed`)
      return result.perSecond
    }
    await get()
    const figures = { vacuum: [], move: [], scrub: [], rebalance: [] }
    const counts = { vacuum: 0, move: 0, scrub: 0, rebalance: 0 }
    const idles = []
    for (let round = 0; round < 3; round++) {
      for (const [name, work] of Object.entries(works)) {
        await allHome()
        const idle = await get()
        const stop = new AbortController()
        const working = repeat(stop.signal, async () => {
          await work()
          counts[name]++
        })
        const busy = await get()
        stop.abort()
        await working
        idles.push(idle)
        figures[name].push({ busy, ratio: busy / idle })
      }
    }
    console.log(`GET of 1 KiB, 32 connections, with nothing else: ${thousands(median(idles))}/s`)
    for (const [name, runs] of Object.entries(figures)) {
      const value = median(runs.map(({ ratio }) => ratio))
      const perSecond = thousands(median(runs.map(({ busy }) => busy)))
      const detail = `${perSecond}/s, ${counts[name]} jobs`
      report(`reads during ${name} / idle`, { value, unit: 'x', detail }, { atLeast: 0.7 })
    }
  })
}

async function holds(jobs, volumeId, url) {
  const { members } = await jobs.volumeFacts(volumeId, NEVER)
  return members.some(({ location }) => location.url === url)
}

async function repeat(signal, work) {
  while (!signal.aborted) await work()
}

/** The volumes of the files, the one with the most of them first. */
function bySize(fileIds) {
  const counts = new Map()
  for (const fileId of fileIds) {
    const volumeId = Number(fileId.split(',')[0])
    counts.set(volumeId, (counts.get(volumeId) ?? 0) + 1)
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([volumeId]) => volumeId)
}

/** A server with many volumes is killed; a spare one takes its copies over. */
function benchLostServer(directory, isQuick) {
  return owning(async (own) => {
    const flags = ['--replication', '001', '--volume-size', '1GiB']
    const repair = ['--repair-delay', '1s', '--check', '200ms', '--scrub-every', '3650d']
    const cluster = await startCluster(own, directory, [...flags, ...repair])
    const running = new Map()
    const start = async (number) => running.set(number, await cluster.startVolume(number))
    own({
      async [Symbol.asyncDispose]() {
        for (const server of running.values()) await server[Symbol.asyncDispose]()
      },
    })
    await start(1)
    await start(2)
    await storeBulk(cluster.client, isQuick ? 2 * GIB : 10 * GIB, '')
    await start(3)
    const rates = { repair: [], copy: [] }
    let lost = 1
    for (let round = 0; round < 3; round++) {
      const source = volumeDirectory(directory, 2)
      rates.copy.push(await bareCopy(source, join(directory, 'copy')))
      const bytes = await datBytes(source)
      await running.get(lost).kill()
      running.delete(lost)
      rates.repair.push(bytes / (await timeRepair(cluster.jobs)))
      // What was lost comes back with copies that do not count any more: it starts anew.
      await rm(volumeDirectory(directory, lost), { recursive: true })
      await start(lost)
      lost = lost === 1 ? 3 : 1
    }
    const value = median(rates.repair) / median(rates.copy)
    const mb = (rate) => `${Math.round(rate / 1000)} MB/s`
    const detail = `${mb(median(rates.repair))} of ${mb(median(rates.copy))}`
    report('repair of a lost server / bare copy', { value, unit: 'x', detail }, { atLeast: 0.6 })
  })
}

/** Without the time until it is noticed: from the first job to full redundancy. In milliseconds. */
async function timeRepair(jobs) {
  await waitFor(jobs, (health) => !health.isFullyRedundant && health.jobsRunning > 0)
  const startedMs = performance.now()
  await waitFor(jobs, (health) => health.isFullyRedundant)
  return performance.now() - startedMs
}

async function waitFor(jobs, isAsWanted) {
  for (;;) {
    if (isAsWanted(await jobs.health(NEVER))) return
    await sleep(50)
  }
}

async function datBytes(directory) {
  let bytes = 0
  for (const name of await readdir(directory)) {
    if (name.endsWith('.dat')) bytes += (await stat(join(directory, name))).size
  }
  return bytes
}

/** The same files copied and synced by one thread of the system. In bytes a millisecond. */
async function bareCopy(from, to) {
  await mkdir(to)
  let bytes = 0
  const startedMs = performance.now()
  for (const name of await readdir(from)) {
    if (!/\.(dat|idx)$/.test(name)) continue
    const target = join(to, name)
    await copyFile(join(from, name), target)
    const file = await open(target, 'r+')
    await file.sync()
    await file.close()
    bytes += (await stat(target)).size
  }
  const rate = bytes / (performance.now() - startedMs)
  await rm(to, { recursive: true })
  return rate
}
