/** A cluster of daemons for the benches, each a process of its own. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HayloftClient } from '../dist/index.js'
import { RemoteJobs } from '../dist/net/remote-jobs.js'
import { systemClock } from '../dist/runtime/clock.js'
import { silentLogger } from '../dist/runtime/logger.js'
import { cryptoRandom } from '../dist/runtime/random.js'
import { startProcess } from './processes.mjs'

const MIB = 2 ** 20
const GRPC_OFFSET = 10_000
const NEVER = new AbortController().signal
const MAIN = new URL('../dist/cli/main.js', import.meta.url).pathname

let nextPort = 11_000 + Math.floor(Math.random() * 9_000)

export async function inDirectory(run) {
  const directory = await mkdtemp(join(tmpdir(), 'hayloft-bench-'))
  try {
    await run(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** A daemon of its own process. */
function startDaemon(args) {
  const flags = [MAIN, ...args, '--log-level', 'warn']
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
export async function startCluster(own, directory, masterFlags) {
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

export function volumeDirectory(directory, number) {
  return join(directory, `volume-${number}`)
}

export async function storeBulk(client, bytes, collection) {
  const data = randomBytes(MIB)
  const ids = []
  let left = Math.ceil(bytes / MIB)
  const put = async () => {
    while (left-- > 0) ids.push((await client.put(data, { collection })).fileId)
  }
  await Promise.all(Array.from({ length: 8 }, put))
  return ids
}

/** Files of these sizes, all in one volume, over HTTP. */
export async function storeInOneVolume(masterUrl, sizes, collection) {
  const count = sizes.length
  const data = randomBytes(Math.max(...sizes))
  const assigned = await fetch(`${masterUrl}/dir/assign?count=${count}&collection=${collection}`)
  const { fid, url } = await assigned.json()
  const ids = sizes.map((_, number) => (number === 0 ? fid : `${fid}_${number}`))
  let next = 0
  const put = async () => {
    while (next < count) {
      const number = next++
      const body = data.subarray(0, sizes[number])
      const answer = await fetch(`http://${url}/${ids[number]}`, { method: 'PUT', body })
      if (!answer.ok) throw new Error(`PUT of ${fid}: ${answer.status} ${await answer.text()}`)
      await answer.arrayBuffer()
    }
  }
  await Promise.all(Array.from({ length: 4 }, put))
  return { volumeId: Number(fid.split(',')[0]), ids }
}

export async function runJob(jobs, kind, target) {
  const { id } = await jobs.runJob({ kind, target, reason: 'bench' }, NEVER)
  for (;;) {
    const job = (await jobs.listJobs({ withEnded: true }, NEVER)).find((each) => each.id === id)
    if (job?.state === 'done') return job
    if (job?.state === 'failed') throw new Error(JSON.stringify(job))
    await sleep(300)
  }
}

export async function repeat(signal, work) {
  while (!signal.aborted) await work()
}

/** The volumes of the files, the one with the most of them first. */
export function bySize(fileIds) {
  const counts = new Map()
  for (const fileId of fileIds) {
    const volumeId = Number(fileId.split(',')[0])
    counts.set(volumeId, (counts.get(volumeId) ?? 0) + 1)
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([volumeId]) => volumeId)
}
