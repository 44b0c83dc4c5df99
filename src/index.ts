/** What applications import. The client joins when there are servers for it to talk to. */
export { type FileId, formatFileId, parseFileId } from './base/file-id.ts'
export { ERROR_CODES, type ErrorCode, isStoreError, StoreError } from './base/store-error.ts'
