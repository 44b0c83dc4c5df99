/** What jobs cost those who read meanwhile, and how fast a lost server is made good. */
import { copyFile, mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  bySize,
  inDirectory,
  repeat,
  runJob,
  startCluster,
  storeBulk,
  volumeDirectory,
} from './cluster.mjs'
import { fill } from './http.mjs'
import { median, report, thousands } from './measure.mjs'
import { owning, wrk } from './processes.mjs'

const GIB = 2 ** 30
const PARTS = 4
const NEVER = new AbortController().signal

/** `parts`: some of reads, repair; all of them unless given. */
export async function benchRepair(isQuick, parts) {
  const isWanted = (part) => parts.length === 0 || parts.includes(part)
  if (isWanted('reads')) await inDirectory((directory) => benchReadsDuringJobs(directory, isQuick))
  if (isWanted('repair')) await inDirectory((directory) => benchLostServer(directory, isQuick))
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
