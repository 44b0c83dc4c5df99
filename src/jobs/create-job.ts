import type { JobKind } from '../net/jobs-api.ts'
import { createEvacuate } from './evacuate.ts'
import { Expire } from './expire.ts'
import type { CreateJob } from './job.ts'
import { Move } from './move.ts'
import { createRebalance } from './rebalance.ts'
import { ReplicaRepair } from './replica-repair.ts'
import { Scrub } from './scrub.ts'
import { SetReplication } from './set-replication.ts'
import { Vacuum } from './vacuum.ts'

const KINDS: Readonly<Record<JobKind, CreateJob>> = {
  'replica-repair': (context) => new ReplicaRepair(context),
  move: (context) => new Move(context),
  rebalance: createRebalance,
  evacuate: createEvacuate,
  vacuum: (context) => new Vacuum(context),
  scrub: (context) => new Scrub(context),
  expire: (context) => new Expire(context),
  'set-replication': (context) => new SetReplication(context),
}

/** @throws {StoreError} REQUEST_INVALID: the target lacks what the kind needs. */
export const createJob: CreateJob = (context) => KINDS[context.lease.job.kind](context)
