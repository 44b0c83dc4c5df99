/** S3 beside a bare node:http server and the disk; listings; a million objects in the namespace. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startStore } from './http.mjs'
import { interleave, median, perSecond, report, thousands } from './measure.mjs'
import { owning, rssBytes, startProcess, wrk } from './processes.mjs'
import {
  BENCH_BUCKET as BUCKET,
  BENCH_KEY as KEY,
  NO_BYTES,
  S3Bench,
  sha256,
} from './s3-client.mjs'

const BYTES = 4096
const FILES = 10_000
const CONNECTIONS = 32
const ROUNDS = 3
const MIB = 2 ** 20
const PART = 8 * MIB
const OBJECT = 64 * MIB
const STREAMS = 8
const here = (name) => new URL(name, import.meta.url).pathname

function firstJson(said) {
  const line = said.split('\n').find((text) => text.startsWith('{'))
  return line === undefined ? undefined : JSON.parse(line)
}

/** `parts`: some of small, large, list, million; all of them unless given. */
export async function benchS3(isQuick, parts) {
  const isWanted = (part) => parts.length === 0 || parts.includes(part)
  const directory = await mkdtemp(join(tmpdir(), 'hayloft-bench-'))
  try {
    await owning(async (own) => {
      const store = own(
        await startStore({
          dir: join(directory, 'store'),
          rootAccessKey: KEY.accessKeyId,
          rootSecretKey: KEY.secretAccessKey,
          s3: { host: '127.0.0.1', port: 0, hashThreads: 1 },
        }),
      )
      const s3 = new S3Bench(store.ready.s3Url)
      await s3.makeBucket()
      if (isWanted('small')) await benchSmall(own, store, s3, { directory, isQuick })
      if (isWanted('large')) await benchLarge(s3, { directory, isQuick })
      if (isWanted('list')) await benchList(s3, isQuick)
      console.log(`  RSS of the server at the end: ${(rssBytes(store.pid) / MIB).toFixed(0)} MiB`)
    })
    if (isWanted('million')) await benchMillion(directory, isQuick)
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function benchSmall(own, store, s3, { directory, isQuick }) {
  const seconds = isQuick ? 2 : 5
  const bare = own(await startProcess('node', [here('bare-server.mjs'), BYTES], firstJson))
  const bareUrl = `http://127.0.0.1:${bare.ready.port}`
  const body = Buffer.alloc(BYTES, 'x')
  await s3.fill(FILES, body, CONNECTIONS)
  const file = join(directory, 'signed')
  const run = async (server, url, method, hash, bytes, count, first) => {
    const date = await s3.prepare(file, method, hash, count, first)
    const args = [file, method, date, hash, bytes, s3.host, 0]
    const options = { url, script: 'signed.lua', args, connections: CONNECTIONS, seconds }
    return await wrk(server.pid, options)
  }
  const get = (server, url) => run(server, url, 'GET', sha256(NO_BYTES), 0, FILES, 0)
  let next = 10_000_000
  const put = (server, url) => {
    next += 1_000_000
    return run(server, url, 'PUT', sha256(body), BYTES, 100_000, next)
  }
  await get(store, s3.url)
  const found = { get: [], bareGet: [], put: [], barePut: [] }
  for (let round = 0; round < ROUNDS; round++) {
    found.bareGet.push(await get(bare, bareUrl))
    found.get.push(await get(store, s3.url))
    found.barePut.push(await put(bare, bareUrl))
    found.put.push(await put(store, s3.url))
  }
  console.log('4 KiB through S3 with signatures, 32 connections')
  compare('GET 4 KiB / bare node:http', found.get, found.bareGet, 0.4)
  compare('durable PUT 4 KiB / bare node:http', found.put, found.barePut, 0.15)
}

function compare(name, ours, base, goal) {
  const rate = (runs) => median(runs.map((run) => run.perSecond))
  const middle = (field) => median(ours.map((run) => run[field]))
  const errors = ours.reduce((sum, run) => sum + run.errors, 0)
  const value = rate(ours) / rate(base)
  const latency = `p50 ${middle('p50Ms').toFixed(1)} p99 ${middle('p99Ms').toFixed(1)} ms`
  const bareCpu = median(base.map((run) => run.cpuUs))
  const cpu = `${middle('cpuUs').toFixed(0)}/${bareCpu.toFixed(0)} us CPU`
  const rates = `${thousands(rate(ours))}/${thousands(rate(base))}`
  const detail = `${rates} ${latency} ${cpu} ${errors} errors`
  report(name, { value, unit: 'x', detail }, { atLeast: goal })
  report(`${name.split(' /')[0]} a second`, { value: rate(ours), unit: '/s' }, { atLeast: 1200 })
}

async function benchLarge(s3, { directory, isQuick }) {
  const part = randomBytes(PART)
  const objects = isQuick ? 4 : 16
  await upload(s3, 'large/0', part)
  const found = await interleave(ROUNDS, {
    disk: () => writeSynced(join(directory, 'disk'), part, objects),
    upload: async (round) => {
      const startMs = performance.now()
      for (let index = 0; index < objects; index++)
        await upload(s3, `large/${round}-${index}`, part)
      return (objects * OBJECT * 1000) / (performance.now() - startMs)
    },
    download: async (round) => {
      const startMs = performance.now()
      for (let index = 0; index < objects; index++) await download(s3, `large/${round}-${index}`)
      return (objects * OBJECT * 1000) / (performance.now() - startMs)
    },
    together: async (round) => {
      const startMs = performance.now()
      const half = objects / 2
      const run = async (work) => {
        for (let index = 0; index < half; index++) await work(index)
      }
      await Promise.all([
        run((index) => upload(s3, `large/t${round}-${index}`, part, STREAMS / 2)),
        run((index) => download(s3, `large/${round}-${index}`, STREAMS / 2)),
      ])
      return (objects * OBJECT * 1000) / (performance.now() - startMs)
    },
  })
  const figure = (value) => ({ value: value / 1e6, unit: 'MB/s' })
  console.log('64 MiB in parts and ranges of 8 MiB, 8 connections')
  report('the disk, written and synced', figure(found.disk))
  report('multipart upload', figure(found.upload))
  report('ranged download', figure(found.download))
  report('half of them each, together', figure(found.together), { atLeast: 600 })
}

async function upload(s3, key, part, streams = STREAMS) {
  const path = `/${BUCKET}/${key}`
  const { text } = await s3.send('POST', `${path}?uploads`)
  const [, uploadId] = /<UploadId>(.*?)<\/UploadId>/.exec(String(text))
  const count = OBJECT / PART
  const etags = []
  await eachOf(count, streams, async (index) => {
    const query = `partNumber=${index + 1}&uploadId=${uploadId}`
    const { headers } = await s3.send('PUT', `${path}?${query}`, part)
    etags[index] = headers.etag
  })
  const parts = etags.map(
    (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`,
  )
  const body = `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`
  await s3.send('POST', `${path}?uploadId=${uploadId}`, Buffer.from(body))
}

async function download(s3, key, streams = STREAMS) {
  await eachOf(OBJECT / PART, streams, async (index) => {
    const Range = `bytes=${index * PART}-${(index + 1) * PART - 1}`
    const { bytes } = await s3.send('GET', `/${BUCKET}/${key}`, NO_BYTES, { Range })
    if (bytes !== PART) throw new Error(`${bytes} bytes of ${PART}`)
  })
}

async function eachOf(count, width, work) {
  let next = 0
  const run = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: width }, run))
}

async function writeSynced(path, part, objects) {
  const file = await open(path, 'w')
  try {
    const startMs = performance.now()
    for (let written = 0; written < objects * OBJECT; written += part.length) {
      await file.write(part)
      if ((written + part.length) % OBJECT === 0) await file.datasync()
    }
    return (objects * OBJECT * 1000) / (performance.now() - startMs)
  } finally {
    await file.close()
    await rm(path)
  }
}

async function benchList(s3, isQuick) {
  const count = isQuick ? 5_000 : 20_000
  await eachOf(count, CONNECTIONS, (index) => s3.send('PUT', `/${BUCKET}/list/${index}`))
  const rates = []
  for (let round = 0; round < ROUNDS; round++) {
    const startMs = performance.now()
    let keys = 0
    await eachOf(4, 4, async () => {
      let token = ''
      do {
        const query = `${token}list-type=2&prefix=list%2F`
        const { text } = await s3.send('GET', `/${BUCKET}?${query}`)
        const page = String(text)
        keys += page.split('<Contents>').length - 1
        const [, next] = /<NextContinuationToken>(.*?)</.exec(page) ?? []
        token = next === undefined ? '' : `continuation-token=${encodeURIComponent(next)}&`
      } while (token !== '')
    })
    rates.push(perSecond(keys, performance.now() - startMs))
  }
  const figure = { value: median(rates), unit: 'keys/s' }
  report('ListObjectsV2, 4 connections', figure, { atLeast: 200_000 })
}

/** The namespace alone: its rows do not care whether there are bytes behind them. */
async function benchMillion(directory, isQuick) {
  const count = isQuick ? 100_000 : 1_000_000
  const args = ['--expose-gc', here('namespace-process.mjs'), join(directory, 'rows'), count]
  await owning(async (own) => {
    const { ready } = own(await startProcess('node', args, firstJson))
    console.log(`${thousands(count)} objects in the namespace, keys of ${ready.keyBytes} bytes`)
    const each = (value, unit) => ({ value, unit })
    report('LevelDB for each object', each(ready.diskBytes / count, 'bytes'))
    report('RSS after filling', each(ready.rssFilled / MIB, 'MiB'))
    report('RSS when opened anew', each(ready.rssOpened / MIB, 'MiB'))
    report('durable puts of 32 writers', each(ready.putsPerSecond, '/s'))
    report('listed', each(ready.keysPerSecond, 'keys/s'))
    report('page of 1,000 in the middle', each(ready.middlePageMs, 'ms'))
  })
}
