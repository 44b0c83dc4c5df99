import {
  type GrpcMethod,
  type GrpcService,
  mapStream,
  serverStream,
  unary,
} from './grpc-service.ts'
import type { JobsApi, JobView } from './jobs-api.ts'
import { JOBS_PROTO, JOBS_SERVICE } from './proto-loading.ts'
import {
  chooseTargetFromWire,
  dirtyNeedlesFromWire,
  dirtyNeedlesToWire,
  factsToWire,
  forgetVolumeFromWire,
  listDirtyFromWire,
  membersChangeFromWire,
  moveToWire,
  type NextMoveRequest,
  nextMoveRequestFromWire,
  scrubNoteFromWire,
  vacuumNoteFromWire,
  type WireChooseTarget,
  type WireForgetVolume,
  type WireListDirty,
  type WireListVolumes,
  type WireMembersChange,
  type WireResolveDirty,
  type WireScrubNote,
  type WireVacuumNote,
} from './wire-facts.ts'
import { type HealPlanRequest, healPlanRequestFromWire, healPlanToWire } from './wire-heal.ts'
import { durabilityToWire, healthToWire } from './wire-health.ts'
import {
  endFromWire,
  jobRequestFromWire,
  jobToWire,
  leaseToWire,
  listJobsFromWire,
  orderFromWire,
  reportFromWire,
  takeFromWire,
  type WireEnd,
  type WireJobRequest,
  type WireJobs,
  type WireListJobs,
  type WireOrder,
  type WireReport,
  type WireTake,
} from './wire-jobs.ts'
import { nodeToWire } from './wire-node.ts'
import {
  chooseShardsFromWire,
  placeToWire,
  shardMoveToWire,
  stripeChangeFromWire,
  type WireChooseShards,
  type WireStripeChange,
} from './wire-stripes.ts'
import { invalid, wirePlacement, wireVolumeId } from './wire-values.ts'

/** A page of some hundred KiB. */
const JOBS_PER_MESSAGE = 1000

/** The jobs of a master, or what speaks for one, as a service of a `GrpcServer`. */
export function jobsService(api: JobsApi): GrpcService {
  return {
    name: JOBS_SERVICE,
    definition: JOBS_PROTO,
    methods: {
      ...queueMethods(api),
      ...workerMethods(api),
      ...volumeMethods(api),
      ...needleMethods(api),
      ...healthMethods(api),
    },
  }
}

function queueMethods(api: JobsApi): Record<string, GrpcMethod> {
  return {
    RunJob: unary('cluster', async (wire: WireJobRequest, { signal }) =>
      jobToWire(await api.runJob(jobRequestFromWire(wire), signal)),
    ),
    ListJobs: serverStream('public', async function* (wire: WireListJobs, { signal }) {
      yield* inPages(await api.listJobs(listJobsFromWire(wire), signal))
    }),
    OrderJob: unary('cluster', async (wire: WireOrder, { signal }) => {
      const { jobId, order } = orderFromWire(wire)
      return jobToWire(await api.orderJob(jobId, order, signal))
    }),
    WatchJobs: {
      ...serverStream('public', (_, { signal }) => mapStream(api.watchJobs(signal), jobToWire)),
      isEndless: true,
    },
  }
}

function* inPages(jobs: readonly JobView[]): Generator<WireJobs> {
  for (let at = 0; at < jobs.length; at += JOBS_PER_MESSAGE) {
    yield { jobs: jobs.slice(at, at + JOBS_PER_MESSAGE).map(jobToWire) }
  }
}

function workerMethods(api: JobsApi): Record<string, GrpcMethod> {
  return {
    TakeJob: unary('cluster', async (wire: WireTake, { signal }) => {
      const lease = await api.takeJob(takeFromWire(wire), signal)
      return { lease: lease === undefined ? null : leaseToWire(lease) }
    }),
    ReportJob: unary('cluster', async (wire: WireReport, { signal }) => ({
      advice: await api.reportJob(reportFromWire(wire), signal),
    })),
    EndJob: unary('cluster', async (wire: WireEnd, { signal }) => {
      await api.endJob(endFromWire(wire), signal)
      return {}
    }),
    GetHealPlan: unary('cluster', async (wire: HealPlanRequest, { signal }) =>
      healPlanToWire(await api.healPlan(healPlanRequestFromWire(wire), signal)),
    ),
    GetNextMove: unary('cluster', async (wire: NextMoveRequest, { signal }) => {
      const move = await api.nextMove(nextMoveRequestFromWire(wire), signal)
      return { move: move === undefined ? null : moveToWire(move) }
    }),
  }
}

interface WireVolume {
  readonly volumeId: number
}

interface WireReplication extends WireVolume {
  readonly replication: string
}

function volumeMethods(api: JobsApi): Record<string, GrpcMethod> {
  return {
    GetVolumeFacts: unary('public', async (wire: WireVolume, { signal }) =>
      factsToWire(await api.volumeFacts(wireVolumeId(wire.volumeId), signal)),
    ),
    ListVolumes: unary('public', async (wire: WireListVolumes, { signal }) => ({
      volumeIds: await api.listVolumes(wire.collection, signal),
    })),
    ChooseTarget: unary('cluster', async (wire: WireChooseTarget, { signal }) =>
      nodeToWire(await api.chooseTarget(chooseTargetFromWire(wire), signal)),
    ),
    ChangeMembers: unary('cluster', async (wire: WireMembersChange, { signal }) =>
      factsToWire(await api.changeMembers(membersChangeFromWire(wire), signal)),
    ),
    ChangeStripe: unary('cluster', async (wire: WireStripeChange, { signal }) =>
      factsToWire(await api.changeStripe(stripeChangeFromWire(wire), signal)),
    ),
    ChooseShards: unary('cluster', async (wire: WireChooseShards, { signal }) => {
      const places = await api.chooseShards(chooseShardsFromWire(wire), signal)
      return { places: places.map(placeToWire) }
    }),
    GetNextShardMove: unary('cluster', async (wire: WireVolume, { signal }) => {
      const move = await api.nextShardMove(wireVolumeId(wire.volumeId), signal)
      return { move: move === undefined ? null : shardMoveToWire(move) }
    }),
    ForgetVolume: unary('cluster', async (wire: WireForgetVolume, { signal }) => {
      await api.forgetVolume(forgetVolumeFromWire(wire), signal)
      return {}
    }),
    SetReplication: unary('cluster', async (wire: WireReplication, { signal }) => {
      const replication = wirePlacement(wire.replication)
      if (replication === undefined) throw invalid('a replication is missing')
      await api.setReplication(wireVolumeId(wire.volumeId), replication, signal)
      return {}
    }),
  }
}

function needleMethods(api: JobsApi): Record<string, GrpcMethod> {
  return {
    ListDirty: unary('cluster', async (wire: WireListDirty, { signal }) =>
      dirtyNeedlesToWire(await api.listDirty(listDirtyFromWire(wire), signal)),
    ),
    ResolveDirty: unary('cluster', async (wire: WireResolveDirty, { signal }) => {
      const needles = dirtyNeedlesFromWire(wire)
      await api.resolveDirty(wireVolumeId(wire.volumeId), needles, signal)
      return {}
    }),
    NoteVacuum: unary('cluster', async (wire: WireVacuumNote, { signal }) => {
      await api.noteVacuum(vacuumNoteFromWire(wire), signal)
      return {}
    }),
    NoteScrub: unary('cluster', async (wire: WireScrubNote, { signal }) => {
      await api.noteScrub(scrubNoteFromWire(wire), signal)
      return {}
    }),
  }
}

function healthMethods(api: JobsApi): Record<string, GrpcMethod> {
  return {
    GetHealth: unary('public', async (_, { signal }) => healthToWire(await api.health(signal))),
    GetDurability: unary('public', async (_, { signal }) =>
      durabilityToWire(await api.durability(signal)),
    ),
    ForgetNode: unary('cluster', async (wire: { readonly url: string }, { signal }) => {
      await api.forgetNode(wire.url, signal)
      return {}
    }),
  }
}
