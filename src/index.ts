/** What applications import. */
export { type FileId, formatFileId, parseFileId } from './base/file-id.ts'
export { ERROR_CODES, type ErrorCode, isStoreError, StoreError } from './base/store-error.ts'
export type {
  Abortable,
  BatchOptions,
  DeleteOptions,
  DeleteResult,
  FileInfo,
  FileShards,
  GetOptions,
  GetRange,
  GetResult,
  NamedEntry,
  PutData,
  PutManyItem,
  PutOptions,
  PutResult,
  RepairResult,
  Settled,
} from './client/client-api.ts'
export type { ClientDefaults, ConnectOptions } from './client/client-config.ts'
export { type ClientParts, HayloftClient } from './client/hayloft-client.ts'
export type { PolicyOptions } from './client/storage-policy.ts'
export type {
  Alert,
  ClusterHealth,
  DurabilityReport,
  JobKind,
  JobRequest,
  JobsApi,
  JobTarget,
  JobView,
} from './net/jobs-api.ts'
export type { DoorsOptions, FilesOptions, RestOptions } from './server/open-doors.ts'
export {
  type ErasureOptions,
  type RepairOptions,
  type RunningServer,
  type StartServerOptions,
  startServer,
} from './server/start-server.ts'
