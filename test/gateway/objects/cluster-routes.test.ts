import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { StoreError } from '../../../src/base/store-error.ts'
import type { RecoveryReport } from '../../../src/gateway/objects/objects-config.ts'
import { HEALTH } from '../../support/fake-jobs-api.ts'
import { never } from '../../support/test-namespace.ts'
import { GREEN, ObjectsDoor } from './objects-door.ts'

let door: ObjectsDoor
let recover: (node: string, signal: AbortSignal) => Promise<RecoveryReport>

beforeEach(async () => {
  const recoverNode = (node: string, signal: AbortSignal) => recover(node, signal)
  door = await ObjectsDoor.open({ policy: 'ec:2+1', recoverNode })
})

afterEach(async () => {
  await door[Symbol.asyncDispose]()
})

describe('GET /cluster/stats', () => {
  test('counts servers by region, and objects with their bytes', async () => {
    await door.upload('a', 'four')
    await door.upload('b', 'fifteen')
    await door.upload('b', 'again')
    door.cluster.setDown(['c:8080'])
    const answer = await door.ask('GET', '/cluster/stats')
    expect(answer.status).toBe(200)
    expect(answer.json).toMatchObject({
      total_nodes: 3,
      nodes_by_region: { 'us-east-1': 1, 'us-west-1': 1, 'eu-west-1': 1 },
      total_objects: 2,
      total_size: 9,
      node_stats: {
        'a:8080': { region: 'us-east-1', rack: 'r1', status: 'up', free_bytes: 2 ** 30 },
        'b:8080': { region: 'us-west-1', status: 'up' },
        'c:8080': { region: 'eu-west-1', status: 'down' },
      },
    })
  })
})

describe('GET /cluster/health', () => {
  test('is healthy while nothing is wrong', async () => {
    const answer = await door.ask('GET', '/cluster/health')
    expect([answer.status, answer.json]).toEqual([
      200,
      { status: 'healthy', failed_nodes: [], message: expect.any(String) },
    ])
  })

  test('is degraded while one of three servers is gone, and an error with two', async () => {
    door.cluster.setDown(['b:8080'])
    door.jobs.current = { ...HEALTH, color: 'red' }
    const one = (await door.ask('GET', '/cluster/health')).json
    expect(one).toMatchObject({ status: 'degraded', failed_nodes: ['b:8080'] })
    door.cluster.setDown(['b:8080', 'c:8080'])
    const two = (await door.ask('GET', '/cluster/health')).json
    expect(two).toMatchObject({ status: 'error', failed_nodes: ['b:8080', 'c:8080'] })
  })

  test('is degraded below full redundancy', async () => {
    door.jobs.current = { ...GREEN, color: 'yellow', volumesBelow: 3 }
    const { json } = await door.ask('GET', '/cluster/health')
    expect(json).toMatchObject({
      status: 'degraded',
      message: expect.stringContaining('3 volumes'),
    })
  })

  test('is an error, with an answer, while the master cannot be asked', async () => {
    door.jobs.failure = new StoreError('UNAVAILABLE', 'no master')
    const answer = await door.ask('GET', '/cluster/health')
    expect([answer.status, answer.json]).toMatchObject([200, { status: 'error', failed_nodes: [] }])
  })
})

describe('POST /cluster/recovery/{node_id}', () => {
  const REPORT = { objects: 3, shards: 2, replicas: 1, durationMs: 1234 }

  test('answers what was made anew, and how long it took', async () => {
    recover = async (node) => ({ node, ...REPORT })
    const answer = await door.ask('POST', '/cluster/recovery/a%3A8080')
    expect([answer.status, answer.json]).toEqual([
      200,
      {
        message: expect.any(String),
        node_id: 'a:8080',
        objects: 3,
        shards: 2,
        replicas: 1,
        recovery_time_ms: 1234,
      },
    ])
    const { json } = await door.ask('GET', '/metrics/summary')
    expect(json).toMatchObject({ recoveries: { count: 1, failed: 0, mttr_ms: { mean: 1234 } } })
  })

  test('of an unknown server is 404 and no recovery', async () => {
    recover = () => Promise.reject(new StoreError('NODE_NOT_FOUND', 'no server is called x'))
    const answer = await door.ask('POST', '/cluster/recovery/x')
    expect([answer.status, answer.json]).toEqual([
      404,
      { detail: 'no server is called x', code: 'NODE_NOT_FOUND' },
    ])
    const { json } = await door.ask('GET', '/metrics/summary')
    expect(json).toMatchObject({ recoveries: { count: 0 } })
  })

  test.each(['UNAVAILABLE', 'SHARDS_LOST', 'REQUEST_INVALID'] as const)(
    'that fails with %s is 500 with the reason',
    async (code) => {
      recover = () => Promise.reject(new StoreError(code, 'this is why'))
      const answer = await door.ask('POST', '/cluster/recovery/a:8080')
      expect([answer.status, answer.json]).toEqual([500, { detail: 'this is why', code }])
      const { json } = await door.ask('GET', '/metrics/summary')
      expect(json).toMatchObject({ recoveries: { count: 1, failed: 1, mttr_ms: { mean: 0 } } })
    },
  )

  test('that fails by our own fault tells nothing of it', async () => {
    recover = () => Promise.reject(new Error('secret'))
    const answer = await door.ask('POST', '/cluster/recovery/a:8080')
    expect([answer.status, answer.json]).toEqual([
      500,
      { detail: 'internal error', code: 'INTERNAL' },
    ])
    expect(door.logged.join()).toContain('secret')
  })

  test('is done once for two who ask at the same time', async () => {
    let count = 0
    let finish = () => {}
    recover = (node) => {
      count++
      return new Promise((resolve) => {
        finish = () => resolve({ node, ...REPORT })
      })
    }
    const asking = [1, 2].map(() => door.ask('POST', '/cluster/recovery/a:8080'))
    await expect.poll(() => count).toBe(1)
    // The second request has come once another one behind it is answered.
    await door.ask('GET', '/cluster/health')
    finish()
    const answers = await Promise.all(asking)
    expect([count, ...answers.map(({ status }) => status)]).toEqual([1, 200, 200])
  })

  test('takes a body that nobody reads', async () => {
    recover = async (node) => ({ node, ...REPORT })
    const raw = { headers: { 'content-type': 'application/json' }, body: '{}' }
    expect((await door.ask('POST', '/cluster/recovery/a:8080', raw)).status).toBe(200)
  })
})

describe('objects of the policy ec:2+1', () => {
  test('have shards in three regions, and are read without any one of them', async () => {
    const data = Buffer.alloc(1000, 'a small object, in three shards')
    expect((await door.upload('coded', data)).status).toBe(200)
    const regions = [...door.cluster.servers.values()].map(({ needles }) => needles.size > 0)
    expect(regions).toEqual([true, true, true])
    for (const url of door.cluster.servers.keys()) {
      door.cluster.setDown([url])
      expect((await door.ask('GET', '/objects/coded')).body.equals(data)).toBe(true)
    }
  })

  test('are refused, and leave nothing, where there are too few servers', async () => {
    door.cluster.setDown(['a:8080'])
    const answer = await door.upload('too-few', Buffer.alloc(1000))
    expect([answer.status, answer.json]).toMatchObject([503, { code: 'PLACEMENT_IMPOSSIBLE' }])
    expect((await door.ask('GET', '/objects/too-few')).status).toBe(404)
    expect(await door.leftNeedles()).toBe(0)
  })
})

describe('objects written best-effort', () => {
  test.each([
    ['ec:2+1', true],
    ['replicated', false],
  ])('of the policy %s are stored while a server is away; dirty: %s', async (policy, isDirty) => {
    await using lenient = await ObjectsDoor.open({ policy, writePolicy: 'best-effort' })
    lenient.cluster.setDown(['a:8080'])
    const data = Buffer.alloc(1000, 'to be completed')
    expect((await lenient.upload('kept', data)).status).toBe(200)
    expect((await lenient.ask('GET', '/objects/kept')).body.equals(data)).toBe(true)
    const { objects } = await lenient.names.namespace.listDirty({ after: '', limit: 10 }, never)
    expect(objects.map(({ key }) => key)).toEqual(isDirty ? ['kept'] : [])
  })
})
