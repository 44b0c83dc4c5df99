import { dirname } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { replaceFile } from '../../runtime/disk.ts'
import { Semaphore } from '../../runtime/semaphore.ts'
import { restError } from '../rest/rest-error.ts'
import { errorSchemas } from '../rest/rest-schemas.ts'
import { metricsCsv, metricsReport } from './metrics-report.ts'
import type { ObjectsConfig, ObjectsParts } from './objects-config.ts'
import type { RequestMetrics } from './request-metrics.ts'

const TAGS = ['metrics']

const SUMMARY_SCHEMA = {
  tags: TAGS,
  summary: 'What requests took since the window began',
  response: {
    200: {
      description: 'By operation: count, success rate, times in ms and bytes; and recoveries',
      type: 'object',
      additionalProperties: true,
    },
  },
} as const

const MESSAGE = { message: { type: 'string' } } as const

const EXPORT_SCHEMA = {
  tags: TAGS,
  summary: 'Write the summary to the configured files',
  response: {
    200: {
      description: 'Where it is now',
      type: 'object',
      properties: { ...MESSAGE, file: { type: 'string' }, json_file: { type: 'string' } },
    },
    ...errorSchemas(409, 500),
  },
} as const

const CLEAR_SCHEMA = {
  tags: TAGS,
  summary: 'Let the window begin anew',
  response: { 200: { description: 'It has begun', type: 'object', properties: MESSAGE } },
} as const

const EXPORTS_WAITING_MAX = 16

/** `/metrics/summary`, `/metrics/export` and `/metrics/clear`. */
export function addMetricsRoutes(
  app: FastifyInstance,
  { closing, disk }: Pick<ObjectsParts, 'closing' | 'disk'>,
  { metricsFile }: Pick<ObjectsConfig, 'metricsFile'>,
  metrics: RequestMetrics,
): void {
  // Two at a time would write the same drafts.
  const exports = new Semaphore({ slots: 1, waitersMax: EXPORTS_WAITING_MAX })
  app.get('/metrics/summary', { schema: SUMMARY_SCHEMA }, async () => {
    return metricsReport(metrics.summary())
  })
  app.post('/metrics/export', { schema: EXPORT_SCHEMA }, async () => {
    if (metricsFile === undefined) {
      const why = 'no file for metrics is configured: nothing was written'
      throw restError(409, 'CONFIG_INVALID', why)
    }
    using _slot = await exports.acquire(closing)
    const summary = metrics.summary()
    const jsonFile = jsonFileOf(metricsFile)
    await disk.createDirectory(dirname(metricsFile))
    await replaceFile(disk, metricsFile, Buffer.from(metricsCsv(summary)))
    const json = `${JSON.stringify(metricsReport(summary), undefined, 2)}\n`
    await replaceFile(disk, jsonFile, Buffer.from(json))
    return { message: 'Metrics exported', file: metricsFile, json_file: jsonFile }
  })
  app.post('/metrics/clear', { schema: CLEAR_SCHEMA }, async () => {
    metrics.clear()
    return { message: 'Metrics cleared' }
  })
}

/** `metrics.csv` → `metrics.json`. */
function jsonFileOf(csvFile: string): string {
  return `${csvFile.replace(/\.csv$/i, '')}.json`
}
