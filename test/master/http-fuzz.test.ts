import { Agent, request } from 'node:http'
import { expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { openMasterHttp } from '../support/master-http.ts'
import { Prng } from '../support/prng.ts'

const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH']

const PATHS = [
  '/',
  '/dir/assign',
  '/dir/lookup',
  '/dir/status',
  '/vol/status',
  '/vol/grow',
  '/vol/vacuum',
  '/col/delete',
  '/collection/info',
  '/submit',
  '/cluster/status',
  '/cluster/healthz',
  '/metrics',
  '/1,01637037d6',
  '/9,01637037d6.jpg',
  '/known',
  '/stats/x',
]

const BITS = [
  '/',
  '.',
  '..',
  '%2e',
  '%00',
  '%',
  '%zz',
  '%c3%28',
  ',',
  '3',
  '_',
  'a',
  '\\',
  '//',
  '?',
  '#',
  'é',
  '%E2%82%AC',
  '+',
  '=',
  '&',
]

const NAMES = [
  'count',
  'replication',
  'ttl',
  'volumeId',
  'fileId',
  'collection',
  'garbageThreshold',
  'proxy',
  'ts',
  'read',
  'detail',
  'dataSize',
  'jwt',
  '__proto__',
]

const VALUES = [
  '',
  '0',
  '1',
  '-1',
  'x',
  '1e9',
  '001',
  '999',
  '5d',
  'photos',
  '3,01637037d6',
  '9'.repeat(30),
  '%00',
  '%ff',
  'true',
  'NaN',
  '../..',
  '💥'.repeat(20),
]

const TYPES = [
  '',
  'text/plain',
  'multipart/form-data',
  'multipart/form-data; boundary=XX',
  'application/x-www-form-urlencoded',
  'x'.repeat(300),
  'multipart/form-data; boundary="',
]

function pick(prng: Prng, list: readonly string[]): string {
  return list[prng.below(list.length)] ?? ''
}

function randomPath(prng: Prng): string {
  let path = prng.below(3) > 0 ? pick(prng, PATHS) : '/'
  for (let count = prng.below(4); count > 0; count--) path += pick(prng, BITS)
  const query: string[] = []
  for (let count = prng.below(4); count > 0; count--) {
    query.push(`${pick(prng, NAMES)}=${pick(prng, VALUES)}`)
  }
  const text = query.length === 0 ? path : `${path}?${query.join('&')}`
  // Other bytes are no HTTP: the parser refuses them before any handler is asked.
  return text.replace(/[^\x21-\x7e]/g, '!')
}

function randomBody(prng: Prng): Buffer {
  const parts = [
    '--XX\r\n',
    '--XX--\r\n',
    '\r\n\r\n',
    'filename="a"',
    'Content-Disposition: form-data; ',
    'count=3&',
    'data',
    '\0',
    'é',
  ]
  const pieces: string[] = []
  for (let count = prng.below(12); count > 0; count--) pieces.push(pick(prng, parts))
  return Buffer.from(pieces.join(''))
}

// Goal: no request, however odd, gets a 5xx or is answered with anything but JSON when refused.
// Method: 3,000 requests of random methods, paths, queries, types and bodies, ten at a time.
test.each([1, 2, 3])('1,000 odd requests get no 5xx (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  await using http = await openMasterHttp()
  const agent = new Agent({ keepAlive: true, maxSockets: 10 })
  const fileId = parseFileId('1,01637037d6')
  const ask = (index: number) =>
    new Promise<void>((resolve, reject) => {
      const method = pick(prng, METHODS)
      // Proxying would ask servers that are not there, which is 503 for a good reason.
      const path = randomPath(prng).replaceAll('proxy=', 'proxies=')
      const body = prng.below(2) === 0 ? randomBody(prng) : undefined
      const headers: Record<string, string> = {}
      const type = pick(prng, TYPES)
      if (type !== '') headers['Content-Type'] = type
      if (body !== undefined) headers['Content-Length'] = String(body.length)
      const what = `request ${index}: ${method} ${path}`
      const sending = request({ port: http.port, host: '127.0.0.1', method, path, headers, agent })
      sending.on('error', (cause) => reject(new Error(what, { cause })))
      sending.on('response', (response) => {
        let text = ''
        response.on('data', (piece) => {
          text += piece
        })
        response.on('end', () => {
          const { statusCode = 0 } = response
          if (statusCode >= 500) return reject(new Error(`${what} got ${statusCode}: ${text}`))
          if (statusCode >= 400 && method !== 'HEAD') {
            const reply = JSON.parse(text) as { readonly code?: unknown }
            if (typeof reply.code !== 'string') return reject(new Error(`${what}: ${text}`))
          }
          resolve()
        })
      })
      sending.end(body)
    })
  for (let index = 0; index < 1000; index += 10) {
    http.master.names.set('known', { name: 'known', fileId, dataBytes: 5, modifiedAtMs: 0 })
    await Promise.all(Array.from({ length: 10 }, (_, at) => ask(index + at)))
  }
  agent.destroy()
  expect(http.errors).toEqual([])
})
