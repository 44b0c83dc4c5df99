import type { ListFilesRequest, StoredFileRef } from '../../net/files-api.ts'
import { FILES_AUTH_HEADER } from '../../net/files-auth.ts'
import {
  type CallContext,
  clientStream,
  type GrpcMethod,
  type GrpcService,
  mapStream,
  serverStream,
  unary,
} from '../../net/grpc-service.ts'
import { FILES_PROTO, FILES_SERVICE } from '../../net/proto-loading.ts'
import type { UsersApi } from '../../net/users-api.ts'
import {
  downloadFromWire,
  downloadPartToWire,
  fileRefFromWire,
  listFilesFromWire,
  searchFilesFromWire,
  storedFilesToWire,
  storedFileToWire,
  type WireDownload,
  type WireSearchFiles,
  type WireStorePart,
} from '../../net/wire-files.ts'
import type { Metrics } from '../../runtime/metrics.ts'
import type { DoorParts } from '../door-parts.ts'
import type { Identity, KeyRing } from '../s3/auth/identity.ts'
import { FileCache } from './file-cache.ts'
import { FileCallers } from './file-callers.ts'
import { UploadBody } from './upload-body.ts'
import { UserFiles } from './user-files.ts'

export interface FileServiceParts extends DoorParts {
  readonly keys: KeyRing
  readonly users: Pick<UsersApi, 'get'>
  /** Without it nothing is counted. */
  readonly metrics?: Metrics | undefined
}

export interface FileServiceConfig {
  /** Larger files are kept in chunks of so many bytes: 1 KiB to 64 MiB. */
  readonly chunkBytes: number
  /** Memory for files that were read lately; 0: none. */
  readonly cacheBytes: number
}

/** A call that is known to come from a user. */
interface UserCall {
  readonly caller: Identity
  readonly signal: AbortSignal
}

/**
 * Files of users as a service of a `GrpcServer`. Every method asks for the access key of a user
 * first, and does nothing without.
 */
export function fileService(parts: FileServiceParts, config: FileServiceConfig): GrpcService {
  const callers = new FileCallers(parts)
  const cache = new FileCache({ metrics: parts.metrics }, { bytesMax: config.cacheBytes })
  const files = new UserFiles({ door: parts, callers, cache }, config)
  const calls = parts.metrics?.tallies<'method'>({
    name: 'gateway_files_calls_total',
    help: 'Calls of users, by method.',
    labelNames: ['method'],
  })
  const enter = async (call: CallContext): Promise<UserCall> => {
    calls?.of({ method: call.path.slice(call.path.lastIndexOf('/') + 1) }).add(1)
    const caller = await callers.identify(call, FILES_AUTH_HEADER)
    return { caller, signal: call.signal }
  }
  const methods = { ...storing(parts, files, enter), ...finding(files, enter) }
  return { name: FILES_SERVICE, definition: FILES_PROTO, methods }
}

type Enter = (call: CallContext) => Promise<UserCall>

function storing(
  parts: FileServiceParts,
  files: UserFiles,
  enter: Enter,
): Record<string, GrpcMethod> {
  const store = (mode: 'upload' | 'update') =>
    clientStream('user', async (messages: AsyncIterable<WireStorePart>, call) => {
      const { caller, signal } = await enter(call)
      const body = await UploadBody.open(parts, messages)
      return storedFileToWire(await files.store(mode, caller, body, signal))
    })
  return {
    Upload: store('upload'),
    Update: store('update'),
    Download: serverStream('user', async function* (wire: WireDownload, call) {
      const { caller, signal } = await enter(call)
      yield* mapStream(files.download(caller, downloadFromWire(wire), signal), downloadPartToWire)
    }),
    Delete: unary('user', async (wire: StoredFileRef, call) => {
      const { caller, signal } = await enter(call)
      await files.delete(caller, fileRefFromWire(wire), signal)
      return {}
    }),
  }
}

function finding(files: UserFiles, enter: Enter): Record<string, GrpcMethod> {
  return {
    List: serverStream('user', async function* (wire: ListFilesRequest, call) {
      const { caller, signal } = await enter(call)
      yield* mapStream(files.list(caller, listFilesFromWire(wire), signal), storedFilesToWire)
    }),
    Search: serverStream('user', async function* (wire: WireSearchFiles, call) {
      const { caller, signal } = await enter(call)
      yield* mapStream(files.search(caller, searchFilesFromWire(wire), signal), storedFilesToWire)
    }),
    Info: unary('user', async (wire: StoredFileRef, call) => {
      const { caller, signal } = await enter(call)
      return storedFileToWire(await files.info(caller, fileRefFromWire(wire), signal))
    }),
  }
}
