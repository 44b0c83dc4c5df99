import type { JobKind } from '../net/jobs-api.ts'
import { EcBalance } from './ec-balance.ts'
import { EcDecode } from './ec-decode.ts'
import { EcEncode } from './ec-encode.ts'
import { EcRepair } from './ec-repair.ts'
import { EcVacuum } from './ec-vacuum.ts'
import { createEvacuate } from './evacuate.ts'
import { Expire } from './expire.ts'
import { createHeal } from './heal-pass.ts'
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
  'ec-encode': (context) => new EcEncode(context),
  'ec-repair': (context) => new EcRepair(context),
  'ec-balance': (context) => new EcBalance(context),
  'ec-vacuum': (context) => new EcVacuum(context),
  'ec-decode': (context) => new EcDecode(context),
  heal: createHeal,
}

/** @throws {StoreError} REQUEST_INVALID: the target lacks what the kind needs. */
export const createJob: CreateJob = (context) => KINDS[context.lease.job.kind](context)
