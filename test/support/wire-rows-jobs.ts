import fc from 'fast-check'
import { ALERT_CODES, JOB_KINDS } from '../../src/net/jobs-api.ts'
import * as facts from '../../src/net/wire-facts.ts'
import * as heal from '../../src/net/wire-heal.ts'
import * as health from '../../src/net/wire-health.ts'
import * as jobs from '../../src/net/wire-jobs.ts'
import {
  aNeedleId,
  aVolumeId,
  bool,
  maybe,
  node,
  politeness,
  type Row,
  ratio,
  replication,
  report,
  row,
  someText,
  text,
  ttl,
  u32,
  u64,
  writePolicy,
} from './wire-rows.ts'
import { scheme as erasure, strayShards, stripeFacts } from './wire-rows-shards.ts'

const kind = fc.constantFrom(...JOB_KINDS)
const target = fc.record({
  volumeId: maybe(aVolumeId),
  node: maybe(someText),
  toNode: maybe(someText),
  collection: maybe(text),
  replication: maybe(replication),
  isDeep: maybe(fc.constant(true)),
  acceptNode: maybe(someText),
  erasure: maybe(erasure),
})
const counts = fc.dictionary(fc.constantFrom('failures', 'shardsMade'), u64, { minKeys: 1 })
const progress = fc.record({
  phase: text,
  done: u64,
  total: u64,
  unit: fc.constantFrom('bytes' as const, 'needles' as const, 'volumes' as const),
})
const request = { kind, target, reason: text }
const job = fc.record({
  ...request,
  id: u64,
  state: fc.constantFrom('waiting', 'running', 'paused', 'done', 'failed', 'cancelled'),
  risk: fc.double({ noNaN: true }),
  queue: text,
  progress,
  attempts: u32,
  createdAtMs: u64,
  startedAtMs: u64,
  endedAtMs: u64,
  notBeforeMs: u64,
  worker: text,
  error: text,
  summary: text,
  counts: maybe(counts),
})
const jobReport = { jobId: u64, token: text, progress, cursor: text }
const copy = fc.record({
  location: node,
  report: maybe(report),
  isUp: bool,
  directoryId: text,
  isLost: bool,
})
const copies = fc.array(copy, { maxLength: 3 })
const dirtyNeedle = fc.record({
  needleId: aNeedleId,
  kind: fc.constantFrom('put', 'delete', 'check'),
  recordedAtMs: u64,
})
const alert = fc.record({ code: fc.constantFrom(...ALERT_CODES), message: text, sinceMs: u64 })
const repairTimes = fc.record({ count: u32, p50Ms: u64, p95Ms: u64, lastMs: u64 })
const scheme = fc.record({
  scheme: text,
  volumes: u32,
  objects: u64,
  domainsWorst: u32,
  toleranceWorst: u32,
  afr: ratio,
  isAfrAssumed: bool,
  mttrP50Ms: ratio,
  mttrP95Ms: ratio,
  isMttrAssumed: bool,
  nines: ratio,
  ninesWithLatentDamage: ratio,
  objectsLostPerYear: ratio,
  volumesBelow: u32,
  belowOldestMs: u64,
})

const QUEUE_ROWS: readonly Row[] = [
  row('JobTarget', target, jobs.targetToWire, jobs.targetFromWire),
  row('RunJobRequest', fc.record(request), jobs.jobRequestToWire, jobs.jobRequestFromWire),
  row('JobProgress', progress, jobs.progressToWire, jobs.progressFromWire),
  row('JobView', job, jobs.jobToWire, jobs.jobFromWire),
  row(
    'ListJobsRequest',
    fc.record({ kind: maybe(kind), withEnded: bool }),
    jobs.listJobsToWire,
    jobs.listJobsFromWire,
  ),
  row(
    'TakeJobRequest',
    fc.record({ worker: text, queue: text, kinds: fc.array(kind, { maxLength: 3 }) }),
    jobs.takeToWire,
    jobs.takeFromWire,
  ),
  row(
    'JobLease',
    fc.record({ job, token: text, validMs: u32, epoch: u64, cursor: text, politeness }),
    jobs.leaseToWire,
    jobs.leaseFromWire,
  ),
  row('JobReport', fc.record(jobReport), jobs.reportToWire, jobs.reportFromWire),
  row(
    'EndJobRequest',
    fc.record({
      ...jobReport,
      outcome: fc.constantFrom('done', 'failed', 'released'),
      error: text,
      summary: text,
      counts: maybe(counts),
    }),
    jobs.endToWire,
    jobs.endFromWire,
  ),
]

const FACT_ROWS: readonly Row[] = [
  row('VolumeCopy', copy, facts.copyFactsToWire, facts.copyFactsFromWire),
  row(
    'VolumeFacts',
    fc.record({
      volumeId: aVolumeId,
      collection: text,
      replication,
      ttl,
      writePolicy,
      setVersion: u64,
      members: copies,
      strays: copies,
      isDeleted: bool,
      dirtyCount: u32,
      stripe: maybe(stripeFacts),
      strayShards: maybe(fc.array(strayShards, { maxLength: 2, minLength: 1 })),
    }),
    facts.factsToWire,
    facts.factsFromWire,
  ),
  row(
    'ChooseTargetRequest',
    fc.record({ volumeId: aVolumeId, replaces: text, excluded: fc.array(text) }),
    facts.chooseTargetToWire,
    facts.chooseTargetFromWire,
  ),
  row(
    'ChangeMembersRequest',
    fc.record({
      jobId: u64,
      token: text,
      volumeId: aVolumeId,
      setVersion: u64,
      add: fc.array(fc.record({ url: text, directoryId: text }), { maxLength: 3 }),
      removeDirectoryIds: fc.array(text),
    }),
    facts.membersChangeToWire,
    facts.membersChangeFromWire,
  ),
  row(
    'ListDirtyRequest',
    fc.record({ volumeId: aVolumeId, after: maybe(aNeedleId) }),
    facts.listDirtyToWire,
    facts.listDirtyFromWire,
  ),
  row('DirtyNeedles', fc.array(dirtyNeedle), facts.dirtyNeedlesToWire, facts.dirtyNeedlesFromWire),
  row(
    'NoteVacuumRequest',
    fc.record({ volumeId: aVolumeId, directoryId: text, compactionRevision: u32 }),
    facts.vacuumNoteToWire,
    facts.vacuumNoteFromWire,
  ),
  row(
    'NoteScrubRequest',
    fc.record({ volumeId: aVolumeId, directoryId: text, bytes: u64, damageCount: u32 }),
    facts.scrubNoteToWire,
    facts.scrubNoteFromWire,
  ),
  row(
    'ForgetVolumeRequest',
    fc.record({ jobId: u64, token: text, volumeId: aVolumeId }),
    facts.forgetVolumeToWire,
    facts.forgetVolumeFromWire,
  ),
  row(
    'GetHealPlanRequest',
    fc.record({ jobId: u64, token: text }),
    (request) => request,
    heal.healPlanRequestFromWire,
  ),
  row(
    'HealPlan',
    fc.record({
      codedVolumeIds: fc.array(aVolumeId, { maxLength: 3 }),
      lostVolumeIds: fc.array(aVolumeId, { maxLength: 3 }),
      lostSinceMs: u64,
      replications: fc.dictionary(fc.constantFrom('', 'objects'), replication),
      repairVolumeIds: fc.array(aVolumeId, { maxLength: 3 }),
      repairedVolumeIds: fc.array(aVolumeId, { maxLength: 3 }),
    }),
    heal.healPlanToWire,
    heal.healPlanFromWire,
  ),
  row(
    'NextMove',
    fc.record({ volumeId: aVolumeId, from: node, to: node }),
    facts.moveToWire,
    facts.moveFromWire,
  ),
]

const HEALTH_ROWS: readonly Row[] = [
  row('Alert', alert, health.alertToWire, health.alertFromWire),
  row('RepairTimes', repairTimes, health.repairTimesToWire, health.repairTimesFromWire),
  row(
    'ClusterHealth',
    fc.record({
      color: fc.constantFrom('green', 'yellow', 'red'),
      isFullyRedundant: bool,
      isWarming: bool,
      nodesUp: u32,
      nodesKnown: u32,
      volumesBelow: u32,
      objectsBelow: u64,
      bytesBelow: u64,
      volumesUnavailable: u32,
      objectsUnavailable: u64,
      dirtyNeedles: u64,
      belowSinceMs: u64,
      estimatedEndMs: u64,
      repairBytesPerS: ratio,
      jobsRunning: u32,
      jobsWaiting: u32,
      jobsFailing: u32,
      doing: fc.array(text),
      repairTimes,
      scrubAgeMaxMs: u64,
      unscrubbedBytes: u64,
      alerts: fc.array(alert, { maxLength: 3 }),
    }),
    health.healthToWire,
    health.healthFromWire,
  ),
  row('DurabilityScheme', scheme, health.schemeToWire, health.schemeFromWire),
  row(
    'DurabilityReport',
    fc.record({
      schemes: fc.array(scheme, { maxLength: 3 }),
      scrubAgeP95Ms: u64,
      unscrubbedBytes: u64,
      correlatedPerYear: ratio,
      ninesCap: ratio,
      convention: text,
    }),
    health.durabilityToWire,
    health.durabilityFromWire,
  ),
]

/** Messages of jobs.proto. */
export const JOB_ROWS: readonly Row[] = [...QUEUE_ROWS, ...FACT_ROWS, ...HEALTH_ROWS]
