import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { formatFileId } from '../base/file-id.ts'
import { cookie } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import { expiresAtMs } from '../format/needle-checks.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import { findLiveNeedles, isLiveRecord } from '../storage/live-needles.ts'
import { type RecordContent, readRecordContent, readRecordData } from '../storage/record-content.ts'
import { type WalkedRecord, walkRecords } from '../storage/record-walk.ts'
import { VolumeSource } from '../storage/volume-source.ts'
import { isSafePath } from './export-path.ts'
import type { TreeKind } from './file-tree.ts'
import type { VolumeArgument } from './volume-arguments.ts'

/** One needle on its way out. */
export interface ExportEntry {
  /** Safe to create below a directory: see `isSafePath`. */
  readonly path: string
  readonly kind: TreeKind
  /** Permission bits; undefined when the needle does not say. */
  readonly mode: number | undefined
  readonly mtimeMs: number | undefined
  /** The content, checked; each call reads it anew. */
  read(): AsyncIterable<Buffer>
}

/** Takes needles one at a time. A later entry of the same path takes the place of the earlier. */
export interface ExportTarget extends AsyncDisposable {
  /**
   * Returns the bytes of content written.
   *
   * @throws {StoreError} what is wrong with this entry; the target goes on with others.
   */
  write(entry: ExportEntry): Promise<number>
  /** Completes the target; returns what could not be made after all. */
  finish(): Promise<readonly StoreError[]>
}

export interface ExportParts {
  readonly disk: Disk
  readonly clock: Clock
}

export interface ExportOptions {
  /** Leave compressed data as it is stored. */
  readonly isRaw: boolean
  readonly onProgress: (doneBytes: number) => void
  /** A needle was not exported. */
  readonly onFailure: (message: string) => Promise<void>
}

export interface ExportResult {
  readonly needles: number
  readonly bytes: number
  readonly failures: number
}

/**
 * Hands the live needles of volumes to a target, in the order they were appended. Works from
 * `.dat`, whatever state the index is in, and changes nothing. A needle that cannot be exported is
 * told and left out.
 *
 * @throws {StoreError} as `VolumeSource.open`; DISK_FULL, DISK_FAILED, CANCELLED.
 */
export async function exportVolumes(
  parts: ExportParts,
  volumes: readonly VolumeArgument[],
  target: ExportTarget,
  options: ExportOptions,
  signal: AbortSignal,
): Promise<ExportResult> {
  const exporter = new Exporter(parts, target, options)
  let doneBytes = 0
  for (const volume of volumes) {
    await using source = await VolumeSource.open(parts.disk, volume.paths)
    const live = await findLiveNeedles(source, signal)
    for await (const step of walkRecords(source, {}, signal)) {
      if (step.kind !== 'record') continue
      const { record } = step
      options.onProgress(doneBytes + record.offsetBytes + record.recordBytes)
      if (isLiveRecord(live, step)) await exporter.export(source, volume, step, signal)
    }
    doneBytes += source.datBytes
  }
  for (const { code, message } of await target.finish()) await exporter.fail(`${code}: ${message}`)
  return exporter.result
}

class Exporter {
  readonly #parts: ExportParts
  readonly #target: ExportTarget
  readonly #options: ExportOptions
  /** Names given to needles without a path: two of them must not become one file. */
  readonly #names = new Set<string>()
  #needles = 0
  #bytes = 0
  #failures = 0

  constructor(parts: ExportParts, target: ExportTarget, options: ExportOptions) {
    this.#parts = parts
    this.#target = target
    this.#options = options
  }

  get result(): ExportResult {
    return { needles: this.#needles, bytes: this.#bytes, failures: this.#failures }
  }

  async export(
    source: VolumeSource,
    volume: VolumeArgument,
    step: WalkedRecord,
    signal: AbortSignal,
  ): Promise<void> {
    const { header, offsetBytes } = step.record
    const { volumeId } = volume
    const fileId = formatFileId({ volumeId, needleId: header.id, cookie: cookie(header.cookie) })
    try {
      const content = await readRecordContent(source.dat, step.record, source.version)
      const expiry = expiresAtMs(content.attributes, source.superBlock.ttl)
      if (expiry !== undefined && expiry <= this.#parts.clock.nowMs()) return
      const entry = this.#entryOf(source, step, { content, fileId }, signal)
      this.#bytes += await this.#target.write(entry)
      this.#needles++
    } catch (error) {
      if (!isStoreError(error) || isFatal(error)) throw error
      const where = `${volume.paths.dat} at byte ${offsetBytes}, needle ${fileId}`
      await this.fail(`${error.code}: ${where}: ${error.message}`)
    }
  }

  async fail(message: string): Promise<void> {
    this.#failures++
    await this.#options.onFailure(message)
  }

  #entryOf(
    source: VolumeSource,
    { record }: WalkedRecord,
    found: { readonly content: RecordContent; readonly fileId: string },
    signal: AbortSignal,
  ): ExportEntry {
    const { content, fileId } = found
    const { pairs, isCompressed, lastModifiedS } = content.attributes
    const isGzip = isCompressed === true
    const read = (): AsyncIterable<Buffer> => {
      const stored = readRecordData(source.dat, record, content, signal)
      return isGzip && !this.#options.isRaw ? gunzip(stored) : stored
    }
    const path = this.#pathOf(content, fileId)
    const suffix = isGzip && this.#options.isRaw && !path.endsWith('.gz') ? '.gz' : ''
    const { kind, mode, mtimeMs } = pairs ?? {}
    const mtime = Number(mtimeMs ?? (lastModifiedS ?? Number.NaN) * 1000)
    return {
      path: `${path}${suffix}`,
      kind: kindOf(kind),
      mode: permissionsOf(mode),
      mtimeMs: Number.isFinite(mtime) ? mtime : undefined,
      read,
    }
  }

  /** @throws {StoreError} NEEDLE_INVALID: the needle asks for a path that leads elsewhere. */
  #pathOf({ attributes }: RecordContent, fileId: string): string {
    const { pairs, name } = attributes
    const { path } = pairs ?? {}
    if (path !== undefined) {
      if (isSafePath(path)) return path
      throw new StoreError('NEEDLE_INVALID', `its path ${quote(path)} leads out of the target`)
    }
    const isUsable = name !== undefined && isSafePath(name) && !name.includes('/')
    const chosen =
      isUsable && !this.#names.has(name) ? name : isUsable ? `${fileId}-${name}` : fileId
    this.#names.add(chosen)
    return chosen
  }
}

export function kindOf(text: string | undefined): TreeKind {
  return text === 'symlink' || text === 'directory' ? text : 'file'
}

/** Setuid and setgid bits of a foreign volume must not become ours. */
export function permissionsOf(text = ''): number | undefined {
  return /^[0-7]{1,4}$/.test(text) ? Number.parseInt(text, 8) & 0o777 : undefined
}

/** What no later needle would be spared. */
function isFatal(error: StoreError): boolean {
  return error.code === 'DISK_FULL' || error.code === 'DISK_FAILED' || error.code === 'CANCELLED'
}

/**
 * Never more than a needle could hold, however small the packed form: a few KiB of gzip can hold
 * gigabytes of zeros.
 */
async function* gunzip(stored: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  const unpacked = createGunzip()
  const packed = Readable.from(stored, { objectMode: false })
  packed.on('error', (error) => unpacked.destroy(error))
  let bytes = 0
  try {
    for await (const piece of packed.pipe(unpacked) as AsyncIterable<Buffer>) {
      bytes += piece.length
      if (bytes > LIMITS.needleDataMax.value) {
        const why = `it unpacks to more than ${LIMITS.needleDataMax.value} bytes; see --raw`
        throw new StoreError('NEEDLE_TOO_LARGE', why)
      }
      yield piece
    }
  } catch (error) {
    if (error instanceof StoreError) throw error
    throw new StoreError('NEEDLE_CORRUPT', 'its data is not gzip, see --raw', { cause: error })
  } finally {
    packed.destroy()
    unpacked.destroy()
  }
}
