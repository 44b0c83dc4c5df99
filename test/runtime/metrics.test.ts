import { expect, test } from 'vitest'
import { Metrics } from '../../src/runtime/metrics.ts'

const help = 'For a test.'

test('counters, gauges and histograms are shown as text', async () => {
  const metrics = new Metrics()
  metrics.counter({ name: 'a_total', help, labelNames: ['op'] }).inc({ op: 'put' }, 3)
  metrics.gauge({ name: 'b_bytes', help }, (gauge) => gauge.set(7))
  metrics.histogram({ name: 'c_seconds', help, buckets: [0.1, 1] }).observe(0.5)
  const text = await metrics.text()
  expect(text).toContain('a_total{op="put"} 3')
  expect(text).toContain('b_bytes 7')
  expect(text).toContain('c_seconds_bucket{le="1"} 1')
})

test('a tally counts by additions alone, and shows its total at each scrape', async () => {
  const metrics = new Metrics()
  const family = metrics.tallies({ name: 'd_total', help, labelNames: ['op', 'to'] })
  const tally = family.of({ op: 'get', to: 'x' })
  expect(family.of({ to: 'x', op: 'get' })).toBe(tally)
  family.of({ op: 'put', to: 'x' })
  tally.add(2)
  tally.add(3)
  for (let scrape = 0; scrape < 2; scrape++) {
    const text = await metrics.text()
    expect(text).toContain('d_total{op="get",to="x"} 5')
    expect(text).toContain('d_total{op="put",to="x"} 0')
  }
})

test('a name that is there gives the same metric, or fails for another kind', () => {
  const metrics = new Metrics()
  const definition = { name: 'e_total', help }
  expect(metrics.counter(definition)).toBe(metrics.counter(definition))
  expect(() => metrics.gauge(definition)).toThrow('gauge')
  const tallies = { name: 'f_total', help, labelNames: ['a'] as const }
  expect(metrics.tallies(tallies)).toBe(metrics.tallies(tallies))
})

test('two registries in one process share nothing', async () => {
  const [first, second] = [new Metrics(), new Metrics()]
  first.counter({ name: 'g_total', help }).inc()
  second.collectProcess()
  expect(await second.text()).not.toContain('g_total')
  expect(await first.text()).not.toContain('process_cpu')
})
