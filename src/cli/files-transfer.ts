import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { lookup as mimeOf } from 'mime-types'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import type { DownloadRequest, StoredFile } from '../net/files-api.ts'
import type { RemoteFiles } from '../net/remote-files.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { CliContext } from './context.ts'
import { system } from './file-tree.ts'
import { type Progress, showProgress } from './progress.ts'

export interface StoreOptions {
  readonly mode: 'upload' | 'update'
  readonly user: string
  readonly contentType: string | undefined
  readonly isOverwrite: boolean
  readonly concurrency: number
  readonly isQuiet: boolean
}

/** A file of this machine, and what it is to be called there. */
export interface LocalFile {
  /** `-`: standard input. */
  readonly path: string
  readonly name: string
  /** Undefined: it is not known. */
  readonly sizeBytes: number | undefined
}

/** Faults of one file. Any other would meet the next file too, so it ends the command. */
const FILE_FAULTS: readonly ErrorCode[] = [
  'TARGET_EXISTS',
  'OBJECT_NOT_FOUND',
  'NAME_INVALID',
  'REQUEST_INVALID',
  'PATH_NOT_FOUND',
  'DIRECTORY_UNUSABLE',
  'DISK_FAILED',
]

/** @throws {StoreError} CONFIG_INVALID: a directory. PATH_NOT_FOUND and others of the system. */
export async function findLocal(path: string, name: string | undefined): Promise<LocalFile> {
  if (path === '-') {
    if (name !== undefined) return { path, name, sizeBytes: undefined }
    throw new StoreError('CONFIG_INVALID', 'what comes from standard input needs a --name')
  }
  const found = await system('stat', path, () => stat(path))
  if (found.isDirectory()) throw new StoreError('CONFIG_INVALID', `${path} is a directory`)
  return { path, name: name ?? basename(path), sizeBytes: found.isFile() ? found.size : undefined }
}

/**
 * Sends files, several at a time, and tells of each that is there. How many are not, it returns;
 * what is wrong with each was told on standard error.
 *
 * @throws {StoreError} What would meet every other file, too.
 */
export async function storeFiles(
  context: CliContext,
  files: RemoteFiles,
  locals: readonly LocalFile[],
  options: StoreOptions,
  onStored: (file: StoredFile) => Promise<void>,
): Promise<number> {
  const totalBytes = locals.reduce((sum, { sizeBytes = 0 }) => sum + sizeBytes, 0)
  const totalFiles = locals.length
  const label = options.mode === 'upload' ? 'uploading' : 'updating'
  const { isQuiet } = options
  using progress = showProgress(context, { label, totalBytes, totalFiles, isQuiet })
  const done = { bytes: 0, files: 0 }
  let faults = 0
  const store = async (local: LocalFile): Promise<void> => {
    try {
      const data = counted(sourceOf(context, local), done, progress)
      await onStored(await storeOne(files, local, data, options, context.signal))
      done.files++
      progress.update(done.bytes, done.files)
    } catch (error) {
      if (!isStoreError(error, ...FILE_FAULTS)) throw error
      faults++
      await context.err.line(`hayloft: ${error.code}: ${local.path}: ${error.message}`)
    }
  }
  await mapBounded(locals, options.concurrency, store, context.signal)
  return faults
}

/**
 * The bytes of a file, or of a range of it; those of a whole file have its SHA-256 when they end.
 *
 * @throws {StoreError} OBJECT_NOT_FOUND, RANGE_INVALID; CHECKSUM_MISMATCH, PEER_FAILED: what came
 * is not the file.
 */
export async function* fetchFile(
  context: CliContext,
  files: RemoteFiles,
  request: DownloadRequest,
  isQuiet: boolean,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let file: StoredFile | undefined
  let progress: Progress | undefined
  let doneBytes = 0
  try {
    for await (const part of files.download(request, context.signal)) {
      if ('file' in part) {
        file = part.file
        const totalBytes = expectedBytes(file, request)
        progress = showProgress(context, { label: `fetching ${file.name}`, totalBytes, isQuiet })
        continue
      }
      const { data } = part
      doneBytes += data.length
      hash.update(data)
      progress?.update(doneBytes)
      yield data
    }
  } finally {
    progress?.[Symbol.dispose]()
  }
  if (file === undefined || doneBytes !== expectedBytes(file, request)) {
    throw new StoreError('PEER_FAILED', `the gateway sent ${doneBytes} bytes, not all there are`)
  }
  const isWhole = request.start === 0 && doneBytes === file.sizeBytes
  if (isWhole && file.sha256 !== undefined && hash.digest('hex') !== file.sha256) {
    throw new StoreError('CHECKSUM_MISMATCH', `what came is not ${file.sha256}`)
  }
}

function expectedBytes({ sizeBytes }: StoredFile, { end, start }: DownloadRequest): number {
  return Math.min(end ?? sizeBytes, sizeBytes) - start
}

function storeOne(
  files: RemoteFiles,
  { name, path, sizeBytes }: LocalFile,
  data: AsyncIterable<Uint8Array>,
  options: StoreOptions,
  signal: AbortSignal,
): Promise<StoredFile> {
  const { isOverwrite, mode, user } = options
  const guessed = mimeOf(path === '-' ? name : path)
  const contentType = options.contentType ?? (guessed === false ? undefined : guessed)
  return files[mode]({ user, name, contentType, sizeBytes, isOverwrite, data }, signal)
}

async function* sourceOf({ input }: CliContext, { path }: LocalFile): AsyncGenerator<Uint8Array> {
  if (path === '-') return yield* input
  const stream = createReadStream(path, { highWaterMark: LIMITS.streamPiece.value })
  const pieces = stream[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await system('read', path, () => pieces.next())
      if (next.done === true) return
      yield next.value
    }
  } finally {
    stream.destroy()
  }
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  done: { bytes: number; readonly files: number },
  progress: Progress,
): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    yield piece
    done.bytes += piece.length
    progress.update(done.bytes, done.files)
  }
}
