import fastify from 'fastify'
import { expect, test } from 'vitest'
import { prometheusPage } from '../../../src/gateway/rest/prometheus-page.ts'
import { Metrics } from '../../../src/runtime/metrics.ts'

test('the numbers of the process can be scraped', async () => {
  const metrics = new Metrics()
  metrics.counter({ name: 'hay_total', help: 'Bales.' }).inc(3)
  const app = fastify()
  await app.register(prometheusPage(metrics))
  const answer = await app.inject('/metrics')
  expect(answer.statusCode).toBe(200)
  expect(answer.headers['content-type']).toMatch(/^text\/plain; version=/)
  expect(answer.body).toContain('hay_total 3')
})
