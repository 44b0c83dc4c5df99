import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import aws4 from 'aws4'

export const BENCH_BUCKET = 'bench'
export const BENCH_KEY = { accessKeyId: 'BENCHROOTKEY', secretAccessKey: 'a-secret-of-the-bench' }
export const NO_BYTES = Buffer.alloc(0)
const CONNECTIONS = 32
const MIB = 2 ** 20

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** A client of a few lines: what an SDK costs is not what is measured. */
export class S3Bench {
  #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })

  constructor(url) {
    this.url = url
    this.host = new URL(url).host
  }

  async makeBucket() {
    await this.send('PUT', `/${BENCH_BUCKET}`)
  }

  /** Objects `small/0` and on, so many at a time. */
  async fill(count, body, width) {
    for (let start = 0; start < count; start += width) {
      const puts = Array.from({ length: width }, (_, index) =>
        this.send('PUT', `/${BENCH_BUCKET}/small/${start + index}`, body),
      )
      await Promise.all(puts)
    }
  }

  sign(method, path, hash, date) {
    const headers = { 'X-Amz-Content-Sha256': hash, ...(date && { 'X-Amz-Date': date }) }
    return aws4.sign(
      { service: 's3', region: 'us-east-1', method, path, host: this.host, headers },
      BENCH_KEY,
    ).headers
  }

  /** The body of the answer; `range` as in HTTP. */
  send(method, path, body = NO_BYTES, more = {}) {
    const hash = body.length > MIB ? 'UNSIGNED-PAYLOAD' : sha256(body)
    const headers = { ...this.sign(method, path, hash), ...more, 'Content-Length': body.length }
    const { hostname, port } = new URL(this.url)
    const options = { hostname, port, method, path, headers, agent: this.#agent }
    return new Promise((resolve, reject) => {
      const request = httpRequest(options, (res) => {
        const pieces = []
        let bytes = 0
        res.on('data', (piece) => {
          bytes += piece.length
          if (more.Range === undefined) pieces.push(piece)
        })
        res.on('error', reject)
        res.on('end', () => {
          const text = Buffer.concat(pieces)
          if (res.statusCode < 300) resolve({ headers: res.headers, text, bytes })
          else reject(new Error(`${method} ${path}: ${res.statusCode} ${text}`))
        })
      })
      request.on('error', reject)
      request.end(body)
    })
  }

  /** Signed requests for wrk: how many, from which number on. */
  async prepare(file, method, hash, count, first) {
    // One time for all: the load generator sends it with each.
    const date = new Date().toISOString().replace(/\.\d+|[-:]/g, '')
    const lines = Array.from({ length: count }, (_, index) => {
      const path = `/${BENCH_BUCKET}/small/${first + index}`
      const headers = this.sign(method, path, hash, date)
      return `${path}\t${headers.Authorization}\n`
    })
    await writeFile(file, lines.join(''))
    return date
  }
}
