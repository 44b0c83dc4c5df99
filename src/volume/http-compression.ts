import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { constants, createGunzip, gunzip, gzip, gzipSync } from 'node:zlib'
import { lookup } from 'mime-types'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'

const gzipAsync = promisify(gzip)
const gunzipAsync = promisify(gunzip)

/** Compressing this much takes less than a millisecond; more goes to another thread. */
const SYNC_GZIP_MAX = 64 * KIB
/** Below this, header and trailer of gzip eat what is saved. */
const GZIP_WORTH_MIN = 64
const GZIP_OPTIONS = { level: constants.Z_BEST_SPEED }
/** What is stored compressed must be smaller by a tenth. */
const GAIN_MIN = 0.9

const COMPRESSIBLE_TYPES = [
  /^text\//,
  /^image\/(?:svg.*|(?:x-ms-)?bmp)$/,
  /^audio\/(?:wave?|x-wav)$/,
  /^application\/(?:pdf|.*json|.*xml|.*script)$/,
]
const COMPRESSIBLE_EXTENSIONS = new Set(
  (
    'svg bmp wav pdf txt html htm css js mjs json xml csv md markdown yaml yml toml ini conf log ' +
    'sql php java go rb c cpp cc h hpp py ts tsx jsx sh rs pl swift kt'
  ).split(' '),
)

/** Whether a file of this type or extension (with its dot) surely shrinks. */
export function isCompressible(mime: string, extension: string): boolean {
  if (COMPRESSIBLE_EXTENSIONS.has(extension.slice(1).toLowerCase())) return true
  const type = mime === '' ? lookup(extension) || '' : (mime.split(';', 1)[0] ?? '')
  const name = type.trim().toLowerCase()
  return COMPRESSIBLE_TYPES.some((pattern) => pattern.test(name))
}

/** The data in gzip; undefined when that saves no more than a tenth. */
export async function compress(data: Buffer): Promise<Buffer | undefined> {
  if (data.length < GZIP_WORTH_MIN) return undefined
  const isSmall = data.length <= SYNC_GZIP_MAX
  const zipped = isSmall ? gzipSync(data, GZIP_OPTIONS) : await gzipAsync(data, GZIP_OPTIONS)
  return zipped.length < data.length * GAIN_MIN ? zipped : undefined
}

/** How long the content of `zippedBytes` of gzip may be. */
export function unzippedBytesMax(zippedBytes: number): number {
  const byRatio = zippedBytes * LIMITS.unzippedRatioMax.value
  const max = Math.max(LIMITS.httpCollectedMax.value, byRatio)
  return Math.min(max, LIMITS.unzippedBytesMax.value)
}

/** @throws {StoreError} REQUEST_INVALID: not gzip, or longer than `unzippedBytesMax`. */
export async function decompress(zipped: Uint8Array): Promise<Buffer> {
  const maxOutputLength = unzippedBytesMax(zipped.length)
  try {
    return await gunzipAsync(zipped, { maxOutputLength })
  } catch (cause) {
    const why = `the data is not gzip, or unpacks to more than ${maxOutputLength} bytes`
    throw new StoreError('REQUEST_INVALID', why, { cause })
  }
}

/**
 * Unpacks while it is read, for data that is not held in memory.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: not gzip, or more than `bytesMax`.
 */
export async function* decompressStream(
  zipped: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<Buffer, void, undefined> {
  const unzip = createGunzip()
  const feeding = feed(zipped, unzip)
  let bytes = 0
  try {
    for await (const piece of unzip) {
      bytes += piece.length
      if (bytes > bytesMax) throw new StoreError('NEEDLE_CORRUPT', `more than ${bytesMax} bytes`)
      yield piece
    }
  } catch (cause) {
    throw new StoreError('NEEDLE_CORRUPT', 'the compressed data cannot be unpacked', { cause })
  } finally {
    unzip.destroy()
    await feeding
  }
}

async function feed(
  source: AsyncIterable<Uint8Array>,
  target: ReturnType<typeof createGunzip>,
): Promise<void> {
  try {
    for await (const piece of source) {
      if (target.destroyed) return
      if (target.write(piece)) continue
      await new Promise<void>((resolve) => {
        target.once('drain', resolve).once('close', resolve)
      })
    }
    target.end()
  } catch (error) {
    target.destroy(error instanceof Error ? error : undefined) // The reader gets it.
  }
}

/** Whether the client takes gzip: named, or covered by `*`, and not with quality 0. */
export function acceptsGzip(req: IncomingMessage): boolean {
  const header = req.headers['accept-encoding']
  if (typeof header !== 'string') return false
  let isStarAccepted = false
  for (const item of header.toLowerCase().split(',')) {
    const [coding = '', ...parameters] = item.split(';').map((part) => part.trim())
    const isRefused = parameters.some((parameter) => /^q=0(?:\.0{0,3})?$/.test(parameter))
    if (coding === 'gzip' || coding === 'x-gzip') return !isRefused
    if (coding === '*') isStarAccepted = !isRefused
  }
  return isStarAccepted
}
