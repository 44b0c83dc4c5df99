import { connect } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { StoreError } from '../../../src/base/store-error.ts'
import { restError } from '../../../src/gateway/rest/rest-error.ts'
import { RestGateway } from '../../../src/gateway/rest/rest-gateway.ts'
import { systemClock } from '../../../src/runtime/clock.ts'
import { loggerInto } from '../objects/objects-door.ts'

let gateway: RestGateway
let logged: string[]
let finish: () => void

beforeEach(async () => {
  logged = []
  const parts = { clock: systemClock, logger: loggerInto(logged) }
  const plugins = [routes, async (app: FastifyInstance) => void app.get('/other', async () => 'o')]
  gateway = await RestGateway.open(parts, { host: '127.0.0.1', port: 0, plugins })
})

afterEach(async () => {
  await gateway[Symbol.asyncDispose]()
})

const COUNT = { type: 'object', properties: { count: { type: 'integer' } } } as const

async function routes(app: FastifyInstance): Promise<void> {
  app.get('/throws/:code', async ({ params }) => {
    const { code } = params as { code: string }
    if (code === 'bug') throw new Error('a secret of ours')
    if (code === 'own') throw restError(418, 'NODE_NOT_FOUND', 'a status of its own')
    throw new StoreError(code as 'OVERLOADED', `this is ${code}`)
  })
  app.get('/query', { schema: { querystring: COUNT } }, async ({ query }) => query)
  app.post('/json', { schema: { body: COUNT } }, async ({ body }) => body)
  app.get('/slow', async () => {
    await new Promise<void>((resolve) => {
      finish = resolve
    })
    return { is: 'done' }
  })
  app.delete('/slow', async () => ({}))
  app.put('/files/*', async () => ({}))
}

async function ask(method: string, path: string, init: RequestInit = {}) {
  const response = await fetch(`${gateway.url}${path}`, { method, ...init })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text }
}

describe('errors of a gateway', () => {
  test.each([
    ['OBJECT_NOT_FOUND', 404],
    ['REQUEST_INVALID', 400],
    ['PRECONDITION_FAILED', 412],
    ['OVERLOADED', 429],
    ['UNAVAILABLE', 503],
    ['DISK_FAILED', 500],
  ])('%s is answered with %d', async (code, status) => {
    const answer = await ask('GET', `/throws/${code}`)
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.text)).toEqual({ detail: `this is ${code}`, code })
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(answer.headers.has('retry-after')).toBe(status === 429 || status === 503)
    expect(logged.length).toBe(status === 500 ? 1 : 0)
  })

  test('may have a status of their own', async () => {
    const answer = await ask('GET', '/throws/own')
    const body = { detail: 'a status of its own', code: 'NODE_NOT_FOUND' }
    expect([answer.status, JSON.parse(answer.text)]).toEqual([418, body])
  })

  test('that are ours are logged, and tell nothing', async () => {
    const answer = await ask('GET', '/throws/bug')
    const body = { detail: 'internal error', code: 'INTERNAL' }
    expect([answer.status, JSON.parse(answer.text)]).toEqual([500, body])
    expect(logged).toEqual(['rest.handler_failed a secret of ours'])
  })

  const JSON_TYPE = { 'content-type': 'application/json' }
  test.each([
    ['GET', '/query?count=x', {}, 422, 'REQUEST_INVALID'],
    ['POST', '/json', { body: '{"count":"x"}', headers: JSON_TYPE }, 422, 'REQUEST_INVALID'],
    ['POST', '/json', { body: '{"count":', headers: JSON_TYPE }, 400, 'REQUEST_INVALID'],
    [
      'POST',
      '/json',
      { body: 'x', headers: { 'content-type': 'text/csv' } },
      415,
      'REQUEST_INVALID',
    ],
    [
      'POST',
      '/json',
      { body: `"${'x'.repeat(2 ** 20)}"`, headers: JSON_TYPE },
      413,
      'BODY_TOO_LARGE',
    ],
    ['GET', '/nowhere', {}, 404, 'ROUTE_NOT_FOUND'],
    ['GET', '/', {}, 404, 'ROUTE_NOT_FOUND'],
    ['GET', '/query/', {}, 404, 'ROUTE_NOT_FOUND'],
    ['POST', '/nowhere', { body: 'x' }, 404, 'ROUTE_NOT_FOUND'],
    ['GET', '/throws/%zz', {}, 400, 'REQUEST_INVALID'],
    ['GET', '/throws/%ff', {}, 400, 'REQUEST_INVALID'],
  ])('%s %s is answered in JSON', async (method, path, init, status, code) => {
    const answer = await ask(method, path, init)
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.text)).toEqual({ detail: expect.any(String), code })
    expect(logged).toEqual([])
  })

  test.each([
    ['POST', '/slow', 'DELETE, GET, HEAD'],
    ['DELETE', '/json', 'POST'],
    ['GET', '/files/a/b', 'PUT'],
    ['PUT', '/query', 'GET, HEAD'],
    ['DELETE', '/other', 'GET, HEAD'],
  ])('%s %s is 405 and says what is allowed', async (method, path, allow) => {
    const answer = await ask(method, path)
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, allow])
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'METHOD_NOT_ALLOWED' })
  })

  test('of what is no HTTP look the same', async () => {
    const socket = connect(gateway.address.port, '127.0.0.1')
    socket.end('this is no HTTP\r\n\r\n')
    let text = ''
    for await (const piece of socket) text += String(piece)
    expect(text).toMatch(/^HTTP\/1.1 400 /)
    expect(text).toContain('{"detail":"the request is not HTTP","code":"REQUEST_INVALID"}')
  })

  test('of headers that are too long are 431', async () => {
    const answer = await ask('GET', '/query', { headers: { 'x-long': 'x'.repeat(17_000) } })
    expect(answer.status).toBe(431)
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'REQUEST_INVALID' })
  })
})

describe('the description', () => {
  test('is OpenAPI, with every route', async () => {
    const answer = await ask('GET', '/openapi.json')
    const { openapi, paths } = JSON.parse(answer.text) as { openapi: string; paths: object }
    expect(openapi).toMatch(/^3\./)
    expect(Object.keys(paths).sort()).toEqual([
      '/files/{key}',
      '/json',
      '/other',
      '/query',
      '/slow',
      '/throws/{code}',
    ])
    expect(JSON.parse((await ask('GET', '/docs/json')).text)).toEqual(JSON.parse(answer.text))
  })

  test('is a page that needs nothing from elsewhere', async () => {
    const page = await ask('GET', '/docs')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-security-policy')).not.toContain('upgrade-insecure')
    const files = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file = '']) => file)
    expect(files.length).toBeGreaterThan(2)
    for (const file of files) {
      const url = new URL(file, `${gateway.url}/docs/`)
      expect(url.origin).toBe(gateway.url)
      expect((await ask('GET', url.pathname)).status).toBe(200)
    }
  })
})

describe('the life of a gateway', () => {
  test('a port that is taken is LISTEN_FAILED', async () => {
    const parts = { clock: systemClock, logger: loggerInto([]) }
    const { host, port } = gateway.address
    const opening = RestGateway.open(parts, { host, port, plugins: [] })
    await expect(opening).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
  })

  test('close lets a request finish and takes no other', async () => {
    const asking = ask('GET', '/slow')
    await expect.poll(() => typeof finish).toBe('function')
    const closing = gateway.close(60_000)
    await expect(ask('GET', '/query')).rejects.toThrow()
    finish()
    expect((await asking).status).toBe(200)
    await closing
  })

  test('close cuts off what is not done within the deadline', async () => {
    finish = undefined as never
    const asking = ask('GET', '/slow').then(
      () => 'answered',
      () => 'cut off',
    )
    await expect.poll(() => typeof finish).toBe('function')
    await gateway.close(1)
    expect(await asking).toBe('cut off')
    finish()
  })
})
