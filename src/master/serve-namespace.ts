import type { NamespaceApi } from '../namespace/namespace-api.ts'
import {
  claimEventsFromWire,
  claimedToWire,
  eventsToWire,
  listEventsFromWire,
  removeEventsFromWire,
  type WireClaimEvents,
  type WireListEvents,
  type WireRemoveEvents,
} from '../namespace/wire-events.ts'
import {
  dirtyObjectFromWire,
  dirtyPageToWire,
  intentPageToWire,
  listIntentsFromWire,
  putIntentFromWire,
  undoIntentFromWire,
  type WireDirtyObject,
  type WireListIntents,
  type WirePutIntent,
  type WireSession,
  type WireUndoIntent,
} from '../namespace/wire-intents.ts'
import {
  bucketChangeFromWire,
  bucketRefFromWire,
  changeObjectFromWire,
  createBucketFromWire,
  deletedToWire,
  deleteObjectFromWire,
  findObjectFromWire,
  listBucketsFromWire,
  putObjectFromWire,
  usageToWire,
  type WireChangeBucket,
  type WireChangeObject,
  type WireCreateBucket,
  type WireDeleteObject,
  type WireFindObject,
  type WireInBucket,
  type WireListBuckets,
  type WirePutObject,
} from '../namespace/wire-namespace.ts'
import {
  bucketsInPieces,
  listDroppedFromWire,
  listObjectsFromWire,
  listUploadsFromWire,
  listVersionsFromWire,
  objectPageInPieces,
  partsInPieces,
  searchObjectsFromWire,
  uploadPageInPieces,
  versionPageInPieces,
  type WireListDropped,
  type WireListObjects,
  type WireListUploads,
  type WireListVersions,
  type WireSearchObjects,
} from '../namespace/wire-pages.ts'
import { bucketToWire, partToWire, uploadToWire, versionToWire } from '../namespace/wire-records.ts'
import {
  completeUploadFromWire,
  createUploadFromWire,
  listPartsFromWire,
  putPartFromWire,
  uploadRefFromWire,
  type WireCompleteUpload,
  type WireCreateUpload,
  type WireListParts,
  type WireOfUpload,
  type WirePutPart,
} from '../namespace/wire-uploads.ts'
import { type GrpcMethod, type GrpcService, serverStream, unary } from '../net/grpc-service.ts'
import { NAMESPACE_PROTO, NAMESPACE_SERVICE } from '../net/proto-loading.ts'

/**
 * Buckets and objects as a service of a `GrpcServer`. Nothing of it is public: a gateway judges who
 * may do what, and a master does what it is told.
 */
export function namespaceService(api: NamespaceApi): GrpcService {
  return {
    name: NAMESPACE_SERVICE,
    definition: NAMESPACE_PROTO,
    methods: {
      ...bucketMethods(api),
      ...objectMethods(api),
      ...uploadMethods(api),
      ...eventMethods(api),
      ...intentMethods(api),
    },
  }
}

function eventMethods(api: NamespaceApi): Record<string, GrpcMethod> {
  return {
    ClaimEvents: unary('cluster', async (wire: WireClaimEvents, { signal }) =>
      claimedToWire(await api.claimEvents(claimEventsFromWire(wire), signal)),
    ),
    ListEvents: unary('cluster', async (wire: WireListEvents, { signal }) =>
      eventsToWire(await api.listEvents(listEventsFromWire(wire), signal)),
    ),
    RemoveEvents: unary('cluster', async (wire: WireRemoveEvents, { signal }) => {
      await api.removeEvents(removeEventsFromWire(wire), signal)
      return {}
    }),
  }
}

function intentMethods(api: NamespaceApi): Record<string, GrpcMethod> {
  return {
    RenewSession: unary('cluster', async (wire: WireSession, { signal }) => {
      await api.renewSession(wire.session, signal)
      return {}
    }),
    EndSession: unary('cluster', async (wire: WireSession, { signal }) => {
      await api.endSession(wire.session, signal)
      return {}
    }),
    PutIntent: unary('cluster', async (wire: WirePutIntent, { signal }) => {
      await api.putIntent(putIntentFromWire(wire), signal)
      return {}
    }),
    ListIntents: unary('cluster', async (wire: WireListIntents, { signal }) =>
      intentPageToWire(await api.listIntents(listIntentsFromWire(wire), signal)),
    ),
    UndoIntent: unary('cluster', async (wire: WireUndoIntent, { signal }) => ({
      wasUndone: await api.undoIntent(undoIntentFromWire(wire), signal),
    })),
    ListDirty: unary('cluster', async (wire: WireListIntents, { signal }) =>
      dirtyPageToWire(await api.listDirty(listIntentsFromWire(wire), signal)),
    ),
    SettleDirty: unary('cluster', async (wire: WireDirtyObject, { signal }) => {
      await api.settleDirty(dirtyObjectFromWire(wire), signal)
      return {}
    }),
  }
}

function bucketMethods(api: NamespaceApi): Record<string, GrpcMethod> {
  return {
    CreateBucket: unary('cluster', async (wire: WireCreateBucket, { signal }) =>
      bucketToWire(await api.createBucket(createBucketFromWire(wire), signal)),
    ),
    FindBucket: unary('cluster', async (wire: { readonly name: string }, { signal }) => {
      const bucket = await api.findBucket(wire.name, signal)
      return { bucket: bucket === undefined ? null : bucketToWire(bucket) }
    }),
    ListBuckets: serverStream('cluster', async function* (wire: WireListBuckets, { signal }) {
      yield* bucketsInPieces(await api.listBuckets(listBucketsFromWire(wire), signal))
    }),
    ChangeBucket: unary('cluster', async (wire: WireChangeBucket, { signal }) => {
      const bucket = bucketRefFromWire(wire.bucket)
      return bucketToWire(await api.changeBucket(bucket, bucketChangeFromWire(wire), signal))
    }),
    DeleteBucket: unary('cluster', async (wire: WireInBucket, { signal }) => {
      await api.deleteBucket(bucketRefFromWire(wire.bucket), signal)
      return {}
    }),
    GetBucketUsage: unary('cluster', async (wire: WireInBucket, { signal }) =>
      usageToWire(await api.bucketUsage(bucketRefFromWire(wire.bucket), signal)),
    ),
  }
}

function objectMethods(api: NamespaceApi): Record<string, GrpcMethod> {
  return {
    PutObject: unary('cluster', async (wire: WirePutObject, { signal }) =>
      versionToWire(await api.putObject(putObjectFromWire(wire), signal)),
    ),
    FindObject: unary('cluster', async (wire: WireFindObject, { signal }) => {
      const version = await api.findObject(findObjectFromWire(wire), signal)
      return { version: version === undefined ? null : versionToWire(version) }
    }),
    DeleteObject: unary('cluster', async (wire: WireDeleteObject, { signal }) =>
      deletedToWire(await api.deleteObject(deleteObjectFromWire(wire), signal)),
    ),
    ChangeObject: unary('cluster', async (wire: WireChangeObject, { signal }) =>
      versionToWire(await api.changeObject(changeObjectFromWire(wire), signal)),
    ),
    ListObjects: serverStream('cluster', async function* (wire: WireListObjects, { signal }) {
      yield* objectPageInPieces(await api.listObjects(listObjectsFromWire(wire), signal))
    }),
    SearchObjects: serverStream('cluster', async function* (wire: WireSearchObjects, { signal }) {
      yield* objectPageInPieces(await api.searchObjects(searchObjectsFromWire(wire), signal))
    }),
    ListVersions: serverStream('cluster', async function* (wire: WireListVersions, { signal }) {
      yield* versionPageInPieces(await api.listVersions(listVersionsFromWire(wire), signal))
    }),
  }
}

function uploadMethods(api: NamespaceApi): Record<string, GrpcMethod> {
  return {
    CreateUpload: unary('cluster', async (wire: WireCreateUpload, { signal }) =>
      uploadToWire(await api.createUpload(createUploadFromWire(wire), signal)),
    ),
    FindUpload: unary('cluster', async (wire: WireOfUpload, { signal }) => {
      const upload = await api.findUpload(uploadRefFromWire(wire.upload), signal)
      return { upload: upload === undefined ? null : uploadToWire(upload) }
    }),
    PutPart: unary('cluster', async (wire: WirePutPart, { signal }) =>
      partToWire(await api.putPart(putPartFromWire(wire), signal)),
    ),
    ListParts: serverStream('cluster', async function* (wire: WireListParts, { signal }) {
      yield* partsInPieces(await api.listParts(listPartsFromWire(wire), signal))
    }),
    CompleteUpload: unary('cluster', async (wire: WireCompleteUpload, { signal }) =>
      versionToWire(await api.completeUpload(completeUploadFromWire(wire), signal)),
    ),
    AbortUpload: unary('cluster', async (wire: WireOfUpload, { signal }) => {
      await api.abortUpload(uploadRefFromWire(wire.upload), signal)
      return {}
    }),
    ListDropped: unary('cluster', (wire: WireListDropped, { signal }) =>
      api.listDropped(listDroppedFromWire(wire), signal),
    ),
    ListUploads: serverStream('cluster', async function* (wire: WireListUploads, { signal }) {
      yield* uploadPageInPieces(await api.listUploads(listUploadsFromWire(wire), signal))
    }),
  }
}
