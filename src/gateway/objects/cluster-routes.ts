import type { FastifyInstance } from 'fastify'
import { isStoreError } from '../../base/store-error.ts'
import { SharedRuns } from '../../runtime/shared-runs.ts'
import { restError } from '../rest/rest-error.ts'
import { HEALTH_SCHEMA, RECOVERY_SCHEMA, STATS_SCHEMA } from './cluster-schemas.ts'
import { clusterStats, type HealthAnswer, healthAnswer } from './cluster-state.ts'
import {
  type ObjectsConfig,
  type ObjectsParts,
  type RecoveryReport,
  readObjectPolicy,
} from './objects-config.ts'
import type { RequestMetrics } from './request-metrics.ts'

/** `/cluster/stats`, `/cluster/health` and `/cluster/recovery/{node_id}`. */
export function addClusterRoutes(
  app: FastifyInstance,
  parts: ObjectsParts,
  config: ObjectsConfig,
  metrics: RequestMetrics,
): void {
  const { buckets, closing, master, namespace } = parts
  app.get('/cluster/stats', { schema: STATS_SCHEMA }, async () => {
    const bucket = await buckets.get(config.bucket, closing)
    const [{ nodes }, usage] = await Promise.all([
      master.topology(closing),
      namespace.bucketUsage(bucket, closing),
    ])
    return clusterStats(nodes, usage)
  })
  app.get('/cluster/health', { schema: HEALTH_SCHEMA }, () => health(parts, config))
  const recoveries = new Recoveries(parts, config, metrics)
  app.post('/cluster/recovery/:node_id', { schema: RECOVERY_SCHEMA }, async ({ params }) => {
    const { node_id: node } = params as { readonly node_id: string }
    const { durationMs, objects, replicas, shards } = await recoveries.run(node)
    const counts = { objects, shards, replicas, recovery_time_ms: durationMs }
    return { message: 'Recovery completed', node_id: node, ...counts }
  })
}

/** Who asks for health is told of a master that does not answer, not that the question failed. */
async function health(parts: ObjectsParts, config: ObjectsConfig): Promise<HealthAnswer> {
  const { closing, jobs, master } = parts
  const { erasure } = readObjectPolicy(config)
  try {
    const [{ nodes }, state] = await Promise.all([master.topology(closing), jobs.health(closing)])
    return healthAnswer(nodes, state, erasure)
  } catch (error) {
    if (!isStoreError(error)) throw error
    parts.logger.warn('objects.health_unknown', { error })
    const message = `the master cannot be asked: ${error.code}: ${error.message}`
    return { status: 'error', failed_nodes: [], message }
  }
}

class Recoveries {
  readonly #parts: ObjectsParts
  readonly #config: ObjectsConfig
  readonly #metrics: RequestMetrics
  /** Who asks for one that is under way waits for its end. */
  readonly #running = new SharedRuns<RecoveryReport>()

  constructor(parts: ObjectsParts, config: ObjectsConfig, metrics: RequestMetrics) {
    this.#parts = parts
    this.#config = config
    this.#metrics = metrics
  }

  /** @throws {StoreError} NODE_NOT_FOUND (404); otherwise why it failed (500). */
  async run(node: string): Promise<RecoveryReport> {
    try {
      return await this.#running.join(
        node,
        (signal) => this.#recover(node, signal),
        this.#parts.closing,
      )
    } catch (error) {
      if (!isStoreError(error)) throw error
      const status = error.code === 'NODE_NOT_FOUND' ? 404 : 500
      throw restError(status, error.code, error.message, { cause: error })
    }
  }

  async #recover(node: string, signal: AbortSignal): Promise<RecoveryReport> {
    const { clock } = this.#parts
    const startedMs = clock.monotonicMs()
    try {
      const report = await this.#config.recoverNode(node, signal)
      this.#metrics.recordRecovery({ node, durationMs: report.durationMs, isOk: true })
      return report
    } catch (error) {
      if (!isStoreError(error, 'NODE_NOT_FOUND')) {
        const durationMs = clock.monotonicMs() - startedMs
        this.#metrics.recordRecovery({ node, durationMs, isOk: false })
      }
      throw error
    }
  }
}
