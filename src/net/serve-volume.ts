import { LIMITS } from '../base/limits.ts'
import type { Logger } from '../runtime/logger.ts'
import {
  type CallContext,
  type GrpcMethod,
  type GrpcService,
  longUnary,
  mapStream,
  serverStream,
  unary,
} from './grpc-service.ts'
import { VOLUME_PROTO, VOLUME_SERVICE } from './proto-loading.ts'
import type { VolumeApi } from './volume-api.ts'
import {
  catchUpAnswerToWire,
  catchUpFromWire,
  copyFromWire,
  copyProgressToWire,
  deleteNeedlesFromWire,
  deleteVolumeFromWire,
  freezeFromWire,
  healAnswerToWire,
  healFromWire,
  needleIdsFromWire,
  needlePageToWire,
  needleStatToWire,
  scrubFromWire,
  scrubProgressToWire,
  setReplicationFromWire,
  vacuumCommandFromWire,
  vacuumToWire,
  volumeDigestToWire,
  type WireCatchUp,
  type WireCopy,
  type WireDeleteNeedles,
  type WireDeleteVolume,
  type WireFreeze,
  type WireHeal,
  type WireScrub,
  type WireSetReplication,
  type WireVacuumCommand,
} from './wire-repair.ts'
import { volumeReportToWire } from './wire-reports.ts'
import { wireVolumeId } from './wire-values.ts'
import {
  allocateFromWire,
  batchAnswerToWire,
  batchDeleteFromWire,
  commandFromWire,
  extentToWire,
  metadataToWire,
  pieceToWire,
  putFromWire,
  putResultToWire,
  readFromWire,
  serverStatusToWire,
  tailFromWire,
  tailRecordToWire,
  volumeFilesFromWire,
  type WireAllocate,
  type WireBatchDelete,
  type WireCommand,
  type WireGet,
  type WireGetPart,
  type WirePut,
  type WireTail,
  type WireVolumeFiles,
} from './wire-volume.ts'
import { checkReplica, WriteStreamServer } from './write-stream-server.ts'

/** A volume server, or what speaks for one, as a service of a `GrpcServer`. */
export function volumeService(
  api: VolumeApi,
  options: { readonly logger?: Logger | undefined } = {},
): GrpcService {
  return {
    name: VOLUME_SERVICE,
    definition: VOLUME_PROTO,
    methods: {
      ...needleMethods(api, options.logger),
      ...volumeMethods(api),
      ...streams(api),
      ...repairMethods(api),
    },
  }
}

function needleMethods(api: VolumeApi, logger: Logger | undefined): Record<string, GrpcMethod> {
  return {
    Write: {
      kind: 'raw-duplex',
      policy: 'public',
      run: (stream, call) => new WriteStreamServer({ api, logger, stream, call }).run(),
    },
    Put: unary('public', async (wire: WirePut, call) => {
      checkReplica(wire.isReplica, call.isCluster)
      return putResultToWire(0, await api.put(putFromWire(wire), call.signal))
    }),
    Get: serverStream('public', (wire: WireGet, call) => sendNeedle(api, wire, call)),
    BatchDelete: unary('public', async (wire: WireBatchDelete, call) => {
      const requests = batchDeleteFromWire(wire)
      checkReplica(
        requests.some((request) => request.isReplica),
        call.isCluster,
      )
      const answers = await api.batchDelete(requests, call.signal)
      return { results: answers.map(batchAnswerToWire) }
    }),
  }
}

async function* sendNeedle(
  api: VolumeApi,
  wire: WireGet,
  call: CallContext,
): AsyncGenerator<WireGetPart> {
  await using content = await api.read(readFromWire(wire), call.signal)
  const { checksum, dataBytes } = content
  yield { head: { metadata: metadataToWire(content.metadata), checksum, dataBytes } }
  for await (const data of content.data) yield* inParts(data)
}

/** However large the pieces of a reader are, messages stay far below their limit. */
function* inParts(data: Uint8Array): Generator<WireGetPart> {
  const partBytes = LIMITS.streamPiece.value
  for (let at = 0; at < data.length; at += partBytes) {
    yield { data: data.subarray(at, at + partBytes) }
  }
}

function volumeMethods(api: VolumeApi): Record<string, GrpcMethod> {
  return {
    AllocateVolume: unary('cluster', async (wire: WireAllocate, { signal }) => {
      await api.allocateVolume(allocateFromWire(wire), signal)
      return {}
    }),
    SealVolume: unary('cluster', async (wire: WireCommand, { signal }) => {
      await api.sealVolume(commandFromWire(wire), signal)
      return {}
    }),
    DeleteVolume: unary('cluster', async (wire: WireDeleteVolume, { signal }) => {
      await api.deleteVolume(deleteVolumeFromWire(wire), signal)
      return {}
    }),
    GetVolumeStatus: unary('public', async (wire: WireVolume, { signal }) =>
      volumeReportToWire(await api.volumeStatus(wireVolumeId(wire.volumeId), signal)),
    ),
    GetServerStatus: unary('public', async (_, { signal }) =>
      serverStatusToWire(await api.serverStatus(signal)),
    ),
    VacuumCheck: unary('public', async (wire: WireVolume, { signal }) => ({
      garbageRatio: await api.vacuumCheck(wireVolumeId(wire.volumeId), signal),
    })),
  }
}

interface WireVolume {
  readonly volumeId: number
}

function streams(api: VolumeApi): Record<string, GrpcMethod> {
  return {
    CopyVolume: serverStream('cluster', (wire: WireCopy, { signal }) =>
      mapStream(api.copyVolume(copyFromWire(wire), signal), copyProgressToWire),
    ),
    ReadVolumeFiles: serverStream('cluster', (wire: WireVolumeFiles, { signal }) =>
      mapStream(api.readVolumeFiles(volumeFilesFromWire(wire), signal), pieceToWire),
    ),
    TailVolume: serverStream('cluster', (wire: WireTail, { signal }) =>
      mapStream(api.tailVolume(tailFromWire(wire), signal), tailRecordToWire),
    ),
    VacuumVolume: serverStream('cluster', (wire: WireVacuumCommand, { signal }) =>
      mapStream(api.vacuumVolume(vacuumCommandFromWire(wire), signal), vacuumToWire),
    ),
  }
}

/** What makes copies equal, and takes as long as they are large. */
function repairMethods(api: VolumeApi): Record<string, GrpcMethod> {
  return {
    FreezeVolume: unary('cluster', async (wire: WireFreeze, { signal }) =>
      extentToWire(await api.freezeVolume(freezeFromWire(wire), signal)),
    ),
    DigestVolume: longUnary('cluster', async (wire: WireVolume, { signal }) =>
      volumeDigestToWire(await api.digestVolume(wireVolumeId(wire.volumeId), signal)),
    ),
    CatchUpVolume: longUnary('cluster', async (wire: WireCatchUp, { signal }) =>
      catchUpAnswerToWire(await api.catchUpVolume(catchUpFromWire(wire), signal)),
    ),
    ListNeedles: serverStream('cluster', (wire: WireVolume, { signal }) =>
      mapStream(api.listNeedles(wireVolumeId(wire.volumeId), signal), needlePageToWire),
    ),
    StatNeedles: longUnary('cluster', async (wire: WireNeedles, { signal }) => {
      const needleIds = needleIdsFromWire(wire.needleIds)
      const stats = await api.statNeedles(wireVolumeId(wire.volumeId), needleIds, signal)
      return { needles: stats.map(needleStatToWire) }
    }),
    HealNeedles: longUnary('cluster', async (wire: WireHeal, { signal }) => {
      const answers = await api.healNeedles(healFromWire(wire), signal)
      return { answers: answers.map(healAnswerToWire) }
    }),
    DeleteNeedles: longUnary('cluster', async (wire: WireDeleteNeedles, { signal }) => {
      await api.deleteNeedles(deleteNeedlesFromWire(wire), signal)
      return {}
    }),
    ScrubVolume: serverStream('cluster', (wire: WireScrub, { signal }) =>
      mapStream(api.scrubVolume(scrubFromWire(wire), signal), scrubProgressToWire),
    ),
    SetVolumeReplication: unary('cluster', async (wire: WireSetReplication, { signal }) => {
      await api.setVolumeReplication(setReplicationFromWire(wire), signal)
      return {}
    }),
  }
}

interface WireNeedles extends WireVolume {
  readonly needleIds: readonly string[]
}
