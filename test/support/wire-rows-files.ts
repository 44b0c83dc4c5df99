import fc from 'fast-check'
import * as files from '../../src/net/wire-files.ts'
import { maybe, type Row, row, someText, text, u32, u64 } from './wire-rows.ts'

const sha256 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => {
  return Buffer.from(bytes).toString('hex')
})
const ref = { user: text, name: someText }

export const FILE_ROWS: readonly Row[] = [
  row('StoredFileRef', fc.record(ref), files.fileRefToWire, files.fileRefFromWire),
  row(
    'StoredFile',
    fc.record({
      user: someText,
      name: someText,
      sizeBytes: u64,
      contentType: maybe(someText),
      createdAtMs: u64,
      modifiedAtMs: u64,
      version: u64,
      sha256: maybe(sha256),
      etag: text,
      chunkCount: u32,
    }),
    files.storedFileToWire,
    files.storedFileFromWire,
  ),
  row(
    'DownloadFileRequest',
    fc.oneof(
      fc.record({ ...ref, start: u64, end: fc.constant(undefined) }),
      fc.record({ ...ref, start: fc.nat(1000), end: fc.integer({ min: 1001, max: 2 ** 53 - 1 }) }),
    ),
    files.downloadToWire,
    files.downloadFromWire,
  ),
  row(
    'ListStoredFilesRequest',
    fc.record({ user: text, prefix: text, after: text, limit: u32 }),
    files.listFilesToWire,
    files.listFilesFromWire,
  ),
]

/** Messages of which one field or another is there, or that hold others. */
export const PLAIN_FILES: Readonly<Record<string, readonly string[]>> = {
  StoreFileRequest: ['head', 'data', 'sha256'],
  DownloadFileResponse: ['file', 'data'],
  DeleteStoredFileResponse: [],
  SearchStoredFilesRequest: ['user', 'isOfAll', 'substring', 'glob', 'after', 'limit'],
  StoredFileList: ['files', 'next'],
}

const WIRE_FILE = {
  user: 'u',
  name: 'n',
  sizeBytes: 0,
  contentType: '',
  createdAtMs: 0,
  modifiedAtMs: 0,
  version: 1,
  sha256: '',
  etag: '',
  chunkCount: 1,
}
const DOWNLOAD = { user: '', name: 'n', rangeStart: 0 }
const SEARCH = { user: '', isOfAll: false, after: '', limit: 0 }

export const HOSTILE_FILES: readonly [
  string,
  'REQUEST_INVALID' | 'RANGE_INVALID',
  () => unknown,
][] = [
  [
    'a file without a name',
    'REQUEST_INVALID',
    () => files.fileRefFromWire({ user: 'u', name: '' }),
  ],
  [
    'a file of nobody',
    'REQUEST_INVALID',
    () => files.storedFileFromWire({ ...WIRE_FILE, user: '' }),
  ],
  [
    'a file of 2^53 bytes',
    'REQUEST_INVALID',
    () => files.storedFileFromWire({ ...WIRE_FILE, sizeBytes: 2 ** 53 }),
  ],
  [
    'a SHA-256 of 63 digits',
    'REQUEST_INVALID',
    () => files.storedFileFromWire({ ...WIRE_FILE, sha256: 'a'.repeat(63) }),
  ],
  [
    'a SHA-256 of 31 bytes',
    'REQUEST_INVALID',
    () => files.storePartFromWire({ sha256: Buffer.alloc(31) }),
  ],
  [
    'data of a byte more than 1 MiB',
    'REQUEST_INVALID',
    () => files.storePartFromWire({ data: Buffer.alloc(2 ** 20 + 1) }),
  ],
  ['a message with nothing in it', 'REQUEST_INVALID', () => files.storePartFromWire({})],
  ['an answer with nothing in it', 'REQUEST_INVALID', () => files.downloadPartFromWire({})],
  [
    'a range that ends where it starts',
    'RANGE_INVALID',
    () => files.downloadFromWire({ ...DOWNLOAD, rangeStart: 5, rangeEnd: 5 }),
  ],
  ['a search for nothing', 'REQUEST_INVALID', () => files.searchFilesFromWire(SEARCH)],
  [
    'a search among the files of one, and of all',
    'REQUEST_INVALID',
    () => files.searchFilesFromWire({ ...SEARCH, user: 'u', isOfAll: true, glob: '*' }),
  ],
]
