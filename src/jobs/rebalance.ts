import type { Job, JobContext } from './job.ts'
import { QueuedMoves } from './queued-moves.ts'

/** Moves volumes from full servers to empty ones until the master finds them even. */
export function createRebalance(context: JobContext): Job {
  return new QueuedMoves(context, { kind: 'rebalance' })
}
