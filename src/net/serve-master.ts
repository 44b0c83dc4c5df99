import {
  type GrpcMethod,
  type GrpcService,
  mapStream,
  serverStream,
  unary,
} from './grpc-service.ts'
import type { MasterApi } from './master-api.ts'
import { MASTER_PROTO, MASTER_SERVICE } from './proto-loading.ts'
import {
  answerToWire,
  assignFromWire,
  collectionToWire,
  dirtyRecordsFromWire,
  growFromWire,
  heartbeatFromWire,
  leaseToWire,
  linkNameFromWire,
  listNamesRequest,
  namedFileToWire,
  settingsFromWire,
  statisticsToWire,
  statusToWire,
  updateToWire,
  type WireAssign,
  type WireCollectionSettings,
  type WireDirtyRecords,
  type WireGrow,
  type WireHeartbeat,
  type WireLinkName,
  type WireVolumeIds,
} from './wire-master.ts'
import { volumeLocationsToWire } from './wire-reports.ts'
import { topologyToWire } from './wire-topology.ts'
import { wireVolumeId } from './wire-values.ts'

/** A master, or what speaks for one, as a service of a `GrpcServer`. */
export function masterService(api: MasterApi): GrpcService {
  return {
    name: MASTER_SERVICE,
    definition: MASTER_PROTO,
    methods: { ...volumeMethods(api), ...clusterMethods(api), ...nameMethods(api) },
  }
}

function volumeMethods(api: MasterApi): Record<string, GrpcMethod> {
  return {
    Assign: unary('public', async (wire: WireAssign, { signal }) =>
      leaseToWire(await api.assign(assignFromWire(wire), signal)),
    ),
    Lookup: unary('public', async (wire: WireVolumeIds, { signal }) => {
      const volumes = await api.lookup(wire.volumeIds.map(wireVolumeId), signal)
      return { volumes: volumes.map(volumeLocationsToWire) }
    }),
    WatchLocations: {
      ...serverStream('public', (_, { signal }) => mapStream(api.watch(signal), updateToWire)),
      isEndless: true,
    },
    Heartbeat: {
      kind: 'duplex',
      policy: 'cluster',
      isEndless: true,
      run(requests, { signal }) {
        const beats = mapStream(requests as AsyncIterable<WireHeartbeat>, heartbeatFromWire)
        return mapStream(api.heartbeat(beats, signal), answerToWire)
      },
    },
    Grow: unary('cluster', async (wire: WireGrow, { signal }) => ({
      volumeIds: await api.grow(growFromWire(wire), signal),
    })),
  }
}

function clusterMethods(api: MasterApi): Record<string, GrpcMethod> {
  return {
    GetTopology: unary('public', async (_, { signal }) =>
      topologyToWire(await api.topology(signal)),
    ),
    ListCollections: unary('public', async (_, { signal }) => {
      const collections = await api.collections(signal)
      return { collections: collections.map(collectionToWire) }
    }),
    DeleteCollection: unary(
      'cluster',
      async (wire: { readonly collection: string }, { signal }) => {
        await api.deleteCollection(wire.collection, signal)
        return {}
      },
    ),
    ConfigureCollection: unary('cluster', async (wire: WireCollectionSettings, { signal }) => {
      await api.configureCollection(settingsFromWire(wire), signal)
      return {}
    }),
    RecordDirty: unary('cluster', async (wire: WireDirtyRecords, { signal }) => {
      await api.recordDirty(dirtyRecordsFromWire(wire), signal)
      return {}
    }),
    GetStatistics: unary('public', async (_, { signal }) =>
      statisticsToWire(await api.statistics(signal)),
    ),
    GetStatus: unary('public', async (_, { signal }) => statusToWire(await api.status(signal))),
  }
}

interface WireName {
  readonly name: string
}

function nameMethods(api: MasterApi): Record<string, GrpcMethod> {
  return {
    LinkName: unary('public', async (wire: WireLinkName, { signal }) =>
      namedFileToWire(await api.linkName(linkNameFromWire(wire), signal)),
    ),
    ResolveName: unary('public', async ({ name }: WireName, { signal }) =>
      namedFileToWire(await api.resolveName(name, signal)),
    ),
    UnlinkName: unary('public', async ({ name }: WireName, { signal }) =>
      namedFileToWire(await api.unlinkName(name, signal)),
    ),
    ListNames: unary('public', async (wire: Parameters<typeof listNamesRequest>[0], call) => {
      const files = await api.listNames(listNamesRequest(wire), call.signal)
      return { files: files.map(namedFileToWire) }
    }),
  }
}
