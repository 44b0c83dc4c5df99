/** Volume server over HTTP beside a bare node:http server and nginx. Load by wrk. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { median, report, thousands } from './measure.mjs'
import { startNginx } from './nginx.mjs'
import { owning, startProcess, wrk } from './processes.mjs'

const FILES = 10_000
const BYTES = 1024
const COOKIE = '637037d6'
/** Such as `--cpu-prof`, to see where the time goes. */
const NODE_FLAGS = (process.env.STORE_NODE_FLAGS ?? '').split(' ').filter(Boolean)

const here = (name) => new URL(name, import.meta.url).pathname

function firstJson(said) {
  const line = said.split('\n').find((text) => text.startsWith('{'))
  return line === undefined ? undefined : JSON.parse(line)
}

let nextPort = 11_000 + Math.floor(Math.random() * 9_000)

export function startStore(options) {
  const ports = { port: nextPort++, volumePort: nextPort++ }
  const json = JSON.stringify({ ...ports, ...options })
  return startProcess('node', [...NODE_FLAGS, here('store-process.mjs'), json], firstJson)
}

function startBare() {
  return startProcess('node', [here('bare-server.mjs')], firstJson)
}

async function assign(masterUrl, query) {
  const answer = await fetch(`${masterUrl}/dir/assign?${query}`)
  if (!answer.ok) throw new Error(`assign: ${answer.status} ${await answer.text()}`)
  const { fid, url } = await answer.json()
  const [volume, key] = fid.split(',')
  return { volume, first: Number.parseInt(key.slice(0, -8), 16), url: `http://${url}` }
}

/** Stores files of 1 KiB and writes their paths into a file, one a line. */
export async function fill(masterUrl, pathsFile, query = '') {
  const { volume, first, url } = await assign(masterUrl, `count=${FILES}&${query}`)
  const paths = Array.from({ length: FILES }, (_, i) => `/${volume},${evenHex(first + i)}${COOKIE}`)
  const body = randomBytes(BYTES)
  const headers = { 'Content-Type': 'application/octet-stream' }
  for (let start = 0; start < FILES; start += 64) {
    const puts = paths.slice(start, start + 64).map(async (path) => {
      const answer = await fetch(url + path, { method: 'PUT', body, headers })
      await answer.arrayBuffer()
      if (!answer.ok) throw new Error(`put: ${answer.status}`)
    })
    await Promise.all(puts)
  }
  await writeFile(pathsFile, `${paths.join('\n')}\n`)
  return url
}

function evenHex(value) {
  const digits = value.toString(16)
  return digits.length % 2 === 0 ? digits : `0${digits}`
}

async function rounds(count, measurements) {
  const runs = Object.fromEntries(Object.keys(measurements).map((name) => [name, []]))
  for (let round = 0; round < count; round++) {
    for (const [name, run] of Object.entries(measurements)) runs[name].push(await run(round))
  }
  const figures = ['perSecond', 'cpuUs', 'p50Ms', 'p99Ms', 'errors']
  return Object.fromEntries(
    Object.entries(runs).map(([name, all]) => [
      name,
      Object.fromEntries(figures.map((figure) => [figure, median(all.map((r) => r[figure]))])),
    ]),
  )
}

function show(what, { perSecond, cpuUs, p50Ms, p99Ms, errors }) {
  const cpu = `${cpuUs.toFixed(1)} us CPU each`
  const latency = `p50 ${p50Ms.toFixed(1)} p99 ${p99Ms.toFixed(1)} ms`
  console.log(
    `  ${what.padEnd(28)} ${thousands(perSecond).padStart(8)}/s  ${cpu}  ${latency}  ` +
      `${errors} errors`,
  )
}

function ratio(name, ours, base, gate) {
  const detail = `${thousands(ours.perSecond)}/${thousands(base.perSecond)}`
  report(name, { value: ours.perSecond / base.perSecond, unit: 'x', detail }, gate)
}

/** `parts`: some of reads, threads, nginx, writes; all of them unless given. */
export async function benchHttp(isQuick, parts) {
  const isWanted = (part) => parts.length === 0 || parts.includes(part)
  const seconds = isQuick ? 2 : 5
  const roundCount = 3
  const directory = await mkdtemp(join(tmpdir(), 'hayloft-bench-'))
  try {
    await benchReads(directory, { seconds, roundCount, isWanted })
    if (isWanted('writes')) await benchWrites(directory, { seconds, roundCount })
  } finally {
    await rm(directory, { recursive: true })
  }
}

function benchReads(directory, options) {
  return owning(async (own) => {
    const pathsFile = join(directory, 'paths')
    const base = own(await startBare())
    const get = (server, url, connections = 32) =>
      wrk(server.pid, {
        url,
        script: 'get.lua',
        args: [pathsFile],
        connections,
        seconds: options.seconds,
      })
    const given = { get, pathsFile, roundCount: options.roundCount }
    if (options.isWanted('reads')) await benchFloorReads(directory, base, given)
    if (options.isWanted('threads')) await benchThreads(directory, given)
    if (options.isWanted('nginx')) await benchNginxReads(directory, given)
  })
}

function benchFloorReads(directory, bare, { get, pathsFile, roundCount }) {
  return owning(async (own) => {
    const base = `http://127.0.0.1:${bare.ready.port}`
    const store = own(await startStore({ dir: join(directory, 'get'), durability: 'none' }))
    const url = await fill(store.ready.masterUrl, pathsFile)
    await get(store, url)
    const { ours, floor } = await rounds(roundCount, {
      floor: () => get(bare, base),
      ours: () => get(store, url),
    })
    console.log('GET of 1 KiB, 32 connections')
    show('bare node:http, from memory', floor)
    show('volume server', ours)
    ratio('GET 1 KiB / bare node:http', ours, floor, { atLeast: 0.8 })
  })
}

function benchThreads(directory, { get, pathsFile, roundCount }) {
  return owning(async (own) => {
    const options = { durability: 'none' }
    const one = own(await startStore({ dir: join(directory, 't1'), ...options, threads: 1 }))
    const urlOne = await fill(one.ready.masterUrl, pathsFile)
    const two = own(await startStore({ dir: join(directory, 't2'), ...options, threads: 2 }))
    const urlTwo = await fill(two.ready.masterUrl, pathsFile)
    const found = await rounds(roundCount, {
      one: () => get(one, urlOne, 64),
      two: () => get(two, urlTwo, 64),
    })
    console.log('GET of 1 KiB, 64 connections, the client on the same cores')
    show('one data thread', found.one)
    show('two data threads', found.two)
    ratio('two data threads / one', found.two, found.one)
    const cpu = { value: found.two.cpuUs / found.one.cpuUs, unit: 'x' }
    report('CPU for a request, two / one', cpu, { atMost: 1.15 })
  })
}

function benchNginxReads(directory, { get, pathsFile, roundCount }) {
  return owning(async (own) => {
    const nginx = own(await startNginx(join(directory, 'nginx-get')))
    if (nginx === undefined) return
    const store = own(await startStore({ dir: join(directory, 'n1'), durability: 'none' }))
    const url = await fill(store.ready.masterUrl, pathsFile)
    const body = randomBytes(BYTES)
    for (const path of (await readFile(pathsFile, 'utf8')).trim().split('\n')) {
      await writeFile(join(nginx.root, path), body)
    }
    await get(nginx, nginx.url)
    const found = await rounds(roundCount, {
      nginx: () => get(nginx, nginx.url),
      ours: () => get(store, url),
    })
    console.log('GET of 1 KiB beside nginx, which serves the same files from ext4')
    show('nginx, one worker', found.nginx)
    show('volume server', found.ours)
    ratio('GET 1 KiB / nginx', found.ours, found.nginx)
  })
}

function benchWrites(directory, { seconds, roundCount }) {
  return owning(async (own) => {
    const bare = own(await startBare())
    const durable = own(await startStore({ dir: join(directory, 'put-fsync') }))
    const memory = own(await startStore({ dir: join(directory, 'put-none'), durability: 'none' }))
    const nginx = own(await startNginx(join(directory, 'nginx-put')))
    let next = 2 ** 40
    const put = (server, url, prefix) => {
      const script = 'put.lua'
      next += 10_000_000
      const args = [prefix, COOKIE, next, BYTES]
      return wrk(server.pid, { url, script, args, connections: 64, seconds })
    }
    const stored = async (store) => {
      const { volume, url } = await assign(store.ready.masterUrl, 'count=1')
      return () => put(store, url, `/${volume},`)
    }
    const measurements = {
      floor: () => put(bare, `http://127.0.0.1:${bare.ready.port}`, '/1,'),
      none: await stored(memory),
      fsync: await stored(durable),
    }
    if (nginx !== undefined) {
      await mkdir(join(nginx.root, 'put'), { recursive: true })
      measurements.nginx = () => put(nginx, nginx.url, '/put/')
    }
    const found = await rounds(roundCount, measurements)
    console.log('PUT of 1 KiB, 64 connections')
    show('bare node:http, discarded', found.floor)
    show('volume server, not synced', found.none)
    show('volume server, durable', found.fsync)
    if (found.nginx !== undefined) show('nginx WebDAV, not synced', found.nginx)
    ratio('durable PUT 1 KiB / bare node:http', found.fsync, found.floor, { atLeast: 0.5 })
    ratio('unsynced PUT 1 KiB / bare node:http', found.none, found.floor, { atLeast: 0.8 })
    if (found.nginx === undefined) return
    ratio('durable PUT 1 KiB / nginx WebDAV', found.fsync, found.nginx)
    ratio('unsynced PUT 1 KiB / nginx WebDAV', found.none, found.nginx)
  })
}
