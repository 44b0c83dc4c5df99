/** Objects and documents over HTTP beside S3 and the disk. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startStore } from './http.mjs'
import { median, report } from './measure.mjs'
import { owning, rssBytes, wrk } from './processes.mjs'
import { BENCH_KEY, NO_BYTES, S3Bench, sha256 } from './s3-client.mjs'

const BYTES = 4096
const FILES = 2000
const PUT_PATHS = 20_000
const CONNECTIONS = 32
const ROUNDS = 3
const MIB = 2 ** 20
const REGIONS = ['us-east-1', 'us-west-1', 'eu-west-1']
const BOUNDARY = 'hayloft-bench'
const FORM = `multipart/form-data; boundary=${BOUNDARY}`
const JSON_TYPE = 'application/json'
const DOCUMENT = Buffer.from(
  JSON.stringify({ like_count: 1, status_code: 200, title: 'x'.repeat(BYTES - 100), tags: ['a'] }),
)
const MEAN_UPLOAD_MS = 3
const MEAN_DOWNLOAD_MS = 1.1

/** `parts`: some of sequence, rates; all of them unless given. */
export async function benchDoors(isQuick, parts) {
  const isWanted = (part) => parts.length === 0 || parts.includes(part)
  const directory = await mkdtemp(join(tmpdir(), 'hayloft-bench-'))
  try {
    if (isWanted('sequence')) await owning((own) => benchSequence(own, directory, isQuick))
    if (isWanted('rates')) await owning((own) => benchRates(own, directory, isQuick))
  } finally {
    await rm(directory, { recursive: true })
  }
}

function storeOptions(dir, volumeServers) {
  const objects = { policy: 'ec:2+1', spread: 'auto', maxFileBytes: 100 * MIB }
  return {
    dir,
    volumeServers,
    dataCenters: REGIONS,
    rootAccessKey: BENCH_KEY.accessKeyId,
    rootSecretKey: BENCH_KEY.secretAccessKey,
    s3: { host: '127.0.0.1', port: 0, hashThreads: 1 },
    doors: { rest: { host: '127.0.0.1', port: 0, objects, documents: {} } },
  }
}

function formOf(bytes) {
  const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n`
  return Buffer.concat([Buffer.from(head), bytes, Buffer.from(`\r\n--${BOUNDARY}--\r\n`)])
}

/** As the founding system measured itself: one client, one object after the other. */
async function benchSequence(own, directory, isQuick) {
  const count = isQuick ? 200 : 1000
  const store = own(await startStore(storeOptions(join(directory, 'sequence'), 3)))
  const client = new RestClient(store.ready.restUrl)
  const sizes = Array.from({ length: count }, (_, index) => 1024 + ((index * 7919) % 9217))
  const times = { upload: [], download: [], disk: [] }
  const file = await open(join(directory, 'disk'), 'w')
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, size] of sizes.entries()) {
        const form = formOf(randomBytes(size))
        const path = `/objects/${round}/${index}`
        times.upload.push(await timed(() => client.send('POST', path, form, FORM)))
      }
      for (const [index, size] of sizes.entries()) {
        const get = async () => {
          const { length } = await client.send('GET', `/objects/${round}/${index}`)
          if (length !== size) throw new Error(`${length} bytes of ${size}`)
        }
        times.download.push(await timed(get))
      }
      for (const size of sizes) {
        times.disk.push(
          await timed(async () => {
            await file.write(Buffer.alloc(size))
            await file.datasync()
          }),
        )
      }
    }
  } finally {
    await file.close()
  }
  console.log(`${ROUNDS} x ${count} objects of 1-10 KiB, ec:2+1 in three regions, one by one`)
  const figure = (name, values, goal) => {
    const mean = values.reduce((sum, ms) => sum + ms, 0) / values.length
    const detail = `median ${median(values).toFixed(2)} ms`
    report(
      name,
      { value: mean, unit: 'ms', detail },
      goal === undefined ? undefined : { atMost: goal },
    )
  }
  figure('the disk: a write and its sync, mean', times.disk)
  figure('upload, mean', times.upload, MEAN_UPLOAD_MS)
  figure('download, mean', times.download, MEAN_DOWNLOAD_MS)
}

async function timed(run) {
  const startMs = performance.now()
  await run()
  return performance.now() - startMs
}

class RestClient {
  #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })

  constructor(url) {
    this.url = new URL(url)
  }

  /** The body of the answer. */
  send(method, path, body, type) {
    const { hostname, port } = this.url
    const headers = body && { 'Content-Type': type, 'Content-Length': body.length }
    return new Promise((resolve, reject) => {
      const options = { hostname, port, method, path, headers, agent: this.#agent }
      const request = httpRequest(options, (res) => {
        const pieces = []
        res.on('data', (piece) => pieces.push(piece))
        res.on('error', reject)
        res.on('end', () => {
          const text = Buffer.concat(pieces)
          if (res.statusCode < 300) resolve(text)
          else reject(new Error(`${method} ${path}: ${res.statusCode} ${text}`))
        })
      })
      request.on('error', reject)
      request.end(body)
    })
  }
}

/** Requests a second of each API on one server; S3 keeps one copy of each object. */
async function benchRates(own, directory, isQuick) {
  const seconds = isQuick ? 2 : 5
  const store = own(await startStore(storeOptions(join(directory, 'rates'), 6)))
  const { restUrl, s3Url } = store.ready
  const s3 = new S3Bench(s3Url)
  await s3.makeBucket()
  const rest = await RestLoad.open(store, restUrl, directory, seconds)
  const hash = sha256(Buffer.alloc(BYTES, 'x'))
  await rest.fill()
  await s3.fill(FILES, Buffer.alloc(BYTES, 'x'), CONNECTIONS)
  const signed = async (method, bytes, count, first) => {
    const file = join(directory, 'signed')
    const sum = bytes > 0 ? hash : sha256(NO_BYTES)
    const date = await s3.prepare(file, method, sum, count, first)
    const args = [file, method, date, sum, bytes, s3.host, 0]
    return await wrk(store.pid, {
      url: s3Url,
      script: 'signed.lua',
      args,
      connections: CONNECTIONS,
      seconds,
    })
  }
  const runs = {
    'S3 GET 4 KiB': () => signed('GET', 0, FILES, 0),
    'objects GET 4 KiB, ec:2+1': () => rest.run('objects', 'GET'),
    'documents read 4 KiB, replication': () => rest.run('copied', 'GET'),
    'documents read 4 KiB, field_hybrid': () => rest.run('hybrid', 'GET'),
    'S3 PUT 4 KiB': (round) => signed('PUT', BYTES, PUT_PATHS, 10_000_000 + round * PUT_PATHS),
    'objects POST 4 KiB, ec:2+1': () => rest.run('newObjects', 'POST', FORM, 'form'),
    'documents write 4 KiB, replication': () => rest.run('writeCopied', 'POST', JSON_TYPE, 'json'),
    'documents write 4 KiB, field_hybrid, new': () =>
      rest.run('writeHybrid', 'POST', JSON_TYPE, 'json'),
    'documents write 4 KiB, field_hybrid, hot': () =>
      rest.run('updateHot', 'POST', JSON_TYPE, 'json'),
  }
  const found = Object.fromEntries(Object.keys(runs).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, run] of Object.entries(runs)) found[name].push(await run(round))
  }
  console.log('requests a second at 32 connections, six volume servers in one process')
  for (const [name, results] of Object.entries(found)) {
    const middle = (field) => median(results.map((run) => run[field]))
    const errors = results.reduce((sum, run) => sum + run.errors, 0)
    const latency = `p50 ${middle('p50Ms').toFixed(1)} p99 ${middle('p99Ms').toFixed(1)} ms`
    const base = found[/write|POST|PUT/.test(name) ? 'S3 PUT 4 KiB' : 'S3 GET 4 KiB']
    const ratio = middle('perSecond') / median(base.map((run) => run.perSecond))
    const cpu = `${middle('cpuUs').toFixed(0)} us CPU`
    const detail = `${ratio.toFixed(2)} of S3 ${latency} ${cpu} ${errors} errors`
    report(name, { value: middle('perSecond'), unit: '/s', detail })
  }
  console.log(`  RSS of the server at the end: ${(rssBytes(store.pid) / MIB).toFixed(0)} MiB`)
}

class RestLoad {
  #store
  #url
  #directory
  #seconds

  static async open(store, url, directory, seconds) {
    const load = new RestLoad()
    load.#store = store
    load.#url = url
    load.#directory = directory
    load.#seconds = seconds
    await load.#writePaths()
    return load
  }

  async #writePaths() {
    await writeFile(this.#at('json'), DOCUMENT)
    await writeFile(this.#at('form'), formOf(Buffer.alloc(BYTES, 'x')))
    const lists = {
      objects: [FILES, (index) => `/objects/small/${index}`],
      newObjects: [PUT_PATHS, (index) => `/objects/new/${index}`],
      copied: [FILES, (index) => `/read/copied-${index}`],
      hybrid: [FILES, (index) => `/read/hybrid-${index}`],
      writeCopied: [PUT_PATHS, (index) => `/write?key=new-${index}&strategy=replication`],
      writeHybrid: [PUT_PATHS, (index) => `/write?key=cold-${index}&strategy=field_hybrid`],
      updateHot: [FILES, (index) => `/write?key=hybrid-${index}&strategy=field_hybrid`],
    }
    for (const [name, [count, pathOf]] of Object.entries(lists)) {
      const paths = Array.from({ length: count }, (_, index) => `${pathOf(index)}\n`)
      await writeFile(this.#at(name), paths.join(''))
    }
  }

  /** What is read, and updated, is there. */
  async fill() {
    const client = new RestClient(this.#url)
    const form = formOf(Buffer.alloc(BYTES, 'x'))
    for (let start = 0; start < FILES; start += CONNECTIONS) {
      const some = Array.from({ length: CONNECTIONS }, (_, at) => start + at)
      const sends = some.flatMap((index) => [
        client.send('POST', `/objects/small/${index}`, form, FORM),
        client.send('POST', `/write?key=copied-${index}`, DOCUMENT, JSON_TYPE),
        client.send(
          'POST',
          `/write?key=hybrid-${index}&strategy=field_hybrid`,
          DOCUMENT,
          JSON_TYPE,
        ),
      ])
      await Promise.all(sends)
    }
  }

  async run(paths, method, type, body) {
    const more = type === undefined ? [] : [type, this.#at(body)]
    const args = [this.#at(paths), method, ...more]
    const options = { url: this.#url, script: 'paths.lua', args, connections: CONNECTIONS }
    const result = await wrk(this.#store.pid, { ...options, seconds: this.#seconds })
    if (result.perSecond < 1) throw new Error(`${paths}: nothing was answered`)
    return result
  }

  #at(name) {
    return join(this.#directory, `load-${name}`)
  }
}
