import { afterEach, describe, expect, test } from 'vitest'
import { readFile } from '../../../src/runtime/disk.ts'
import { ObjectsDoor } from './objects-door.ts'

let door: ObjectsDoor

afterEach(async () => {
  await door[Symbol.asyncDispose]()
})

const NO_TIME = { min: 0, mean: 0, median: 0, p95: 0, p99: 0, max: 0 }
const NOTHING = {
  count: 0,
  success_rate: 1,
  latency_ms: NO_TIME,
  bytes: 0,
  bytes_per_second: 0,
}

describe('GET /metrics/summary', () => {
  test('tells of every operation, and POST /metrics/clear forgets it', async () => {
    door = await ObjectsDoor.open()
    await door.upload('a', 'four')
    await door.ask('GET', '/objects/a')
    await door.ask('GET', '/objects/missing')
    await door.ask('HEAD', '/objects/a')
    await door.ask('GET', '/objects/a/info')
    await door.ask('GET', '/objects')
    await door.ask('DELETE', '/objects/a')
    const answer = await door.ask('GET', '/metrics/summary')
    expect([answer.status, answer.json]).toEqual([
      200,
      {
        window_started_at: '2024-01-01T00:00:00.000Z',
        window_seconds: 0,
        operations: {
          upload: { ...NOTHING, count: 1, bytes: 4 },
          download: { ...NOTHING, count: 3, success_rate: 0.667, bytes: 4 },
          delete: { ...NOTHING, count: 1 },
          list: { ...NOTHING, count: 1 },
          info: { ...NOTHING, count: 1 },
        },
        recoveries: { count: 0, failed: 0, mttr_ms: { mean: 0, min: 0, max: 0 }, last: [] },
      },
    ])
    const cleared = await door.ask('POST', '/metrics/clear')
    expect([cleared.status, cleared.json]).toEqual([200, { message: expect.any(String) }])
    const { json } = await door.ask('GET', '/metrics/summary')
    expect(json).toMatchObject({ operations: { upload: NOTHING, download: NOTHING } })
  })
})

describe('POST /metrics/export', () => {
  const UNLIMITED = 1_000_000

  test('writes CSV and JSON where it is told to, and says where', async () => {
    door = await ObjectsDoor.open({ metricsFile: '/reports/of/metrics.csv' })
    await door.upload('a', 'four')
    const answers = await Promise.all([1, 2, 3].map(() => door.ask('POST', '/metrics/export')))
    for (const answer of answers) {
      expect([answer.status, answer.json]).toEqual([
        200,
        {
          message: expect.any(String),
          file: '/reports/of/metrics.csv',
          json_file: '/reports/of/metrics.json',
        },
      ])
    }
    const csv = (await readFile(door.disk, '/reports/of/metrics.csv', UNLIMITED)).toString()
    const lines = csv.trimEnd().split('\n')
    const columns = 'min_ms,mean_ms,median_ms,p95_ms,p99_ms,max_ms,bytes,bytes_per_second'
    expect(lines[0]).toBe(`operation,count,success_rate,${columns}`)
    expect(lines[1]).toBe('upload,1,1,0,0,0,0,0,0,4,0')
    expect(lines.at(-1)).toBe('recovery,0,1,0,0,,,,0,,')
    expect(new Set(lines.map((line) => line.split(',').length))).toEqual(new Set([11]))
    const json = (await readFile(door.disk, '/reports/of/metrics.json', UNLIMITED)).toString()
    expect(JSON.parse(json)).toEqual((await door.ask('GET', '/metrics/summary')).json)
    const files = await door.disk.list('/reports/of')
    expect(files.map(({ name }) => name)).toEqual(['metrics.csv', 'metrics.json'])
  })

  test('is refused while no file is configured', async () => {
    door = await ObjectsDoor.open()
    const answer = await door.ask('POST', '/metrics/export')
    expect([answer.status, answer.json]).toEqual([
      409,
      { detail: expect.stringContaining('configured'), code: 'CONFIG_INVALID' },
    ])
  })
})
