import { pipeline, Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGunzip, gunzip } from 'node:zlib'
import { StoreError } from '../base/store-error.ts'

const gunzipBuffer: (
  data: Uint8Array,
  options: { readonly maxOutputLength: number },
) => Promise<Buffer> = promisify(gunzip)

/** @throws {StoreError} NEEDLE_CORRUPT: no gzip. NEEDLE_TOO_LARGE: it has more than `bytesMax`. */
export async function unzip(data: Uint8Array, bytesMax: number, what: string): Promise<Buffer> {
  try {
    return await gunzipBuffer(data, { maxOutputLength: bytesMax })
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      const why = `${what} is more than ${bytesMax} bytes when it is unpacked: use getStream`
      throw new StoreError('NEEDLE_TOO_LARGE', why, { cause })
    }
    throw notGzip(what, cause)
  }
}

/** @throws {StoreError} NEEDLE_CORRUPT: no gzip. Otherwise what `pieces` throws. */
export async function* unzipStream(
  pieces: AsyncIterable<Uint8Array>,
  what: string,
): AsyncGenerator<Buffer, void, undefined> {
  const source = Readable.from(pieces)
  const unzipped = createGunzip()
  pipeline(source, unzipped, () => {}) // A failure of either comes out of the loop below.
  try {
    for await (const piece of unzipped) yield piece
  } catch (error) {
    throw error instanceof StoreError ? error : notGzip(what, error)
  } finally {
    source.destroy()
    unzipped.destroy()
  }
}

function notGzip(what: string, cause: unknown): StoreError {
  return new StoreError('NEEDLE_CORRUPT', `${what} is marked as gzip, but is none`, { cause })
}
