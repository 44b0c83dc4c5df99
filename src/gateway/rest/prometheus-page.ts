import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../../runtime/metrics.ts'

const SCHEMA = {
  tags: ['metrics'],
  summary: 'The numbers of this process, in the text format of Prometheus',
} as const

/** `GET /metrics`, as at every other server of a cluster. */
export function prometheusPage(metrics: Metrics): (app: FastifyInstance) => Promise<void> {
  return async (app) => {
    app.get('/metrics', { schema: SCHEMA }, async (_request, reply) => {
      return await reply.type(metrics.contentType).send(await metrics.text())
    })
  }
}
