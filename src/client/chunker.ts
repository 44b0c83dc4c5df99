import { StoreError } from '../base/store-error.ts'
import { KIB, MIB } from '../base/units.ts'
import type { BufferPool, PooledBuffer } from './buffer-pool.ts'

export interface Chunk {
  readonly bytes: Uint8Array
  /** Once, when it is stored or given up. `isReusable`: nobody reads the bytes any more. */
  release(isReusable: boolean): void
}

/** Steps of memory for what may turn out to be short. */
const STEPS_BYTES = [64 * KIB, MIB]

/**
 * Cuts a stream into chunks of equal size, the last one shorter; the release of each is up to the
 * consumer. Memory follows what has arrived: a short stream never takes a buffer of the pool.
 *
 * With `mayCutEarly` others may be shorter too: a slow source gives its buffer back when others
 * wait for one, or a few clients that trickle would hold up all the rest.
 *
 * @throws {StoreError} REQUEST_INVALID: a piece is neither bytes nor text. OVERLOADED: too many
 * wait for a buffer. CANCELLED. Otherwise what the source throws.
 */
export async function* chunksOfStream(
  source: AsyncIterable<Uint8Array | string>,
  pool: BufferPool,
  signal: AbortSignal,
  { mayCutEarly }: { readonly mayCutEarly: boolean },
): AsyncGenerator<Chunk, void, undefined> {
  let filling: Filling | undefined
  try {
    for await (const piece of source) {
      const bytes = bytesOf(piece)
      for (let at = 0; at < bytes.length; ) {
        filling ??= NOTHING
        const wantedBytes = Math.min(pool.sizeBytes, filling.filledBytes + bytes.length - at)
        if (filling.bytes.length < wantedBytes) {
          filling = await grown(filling, wantedBytes, pool, signal)
        }
        const length = Math.min(bytes.length - at, filling.bytes.length - filling.filledBytes)
        filling.bytes.set(bytes.subarray(at, at + length), filling.filledBytes)
        filling.filledBytes += length
        at += length
        if (filling.filledBytes < pool.sizeBytes && !(mayCutEarly && filling.isOverdue())) continue
        const filled = chunkOf(filling)
        filling = undefined
        yield filled
      }
    }
    if (filling === undefined) return
    const last = chunkOf(filling)
    filling = undefined
    yield last
  } finally {
    filling?.release(true)
  }
}

/** Parts of the bytes themselves: nothing is copied. */
export function* chunksOfBytes(
  bytes: Uint8Array,
  chunkBytes: number,
): Generator<Chunk, void, undefined> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    yield { bytes: bytes.subarray(at, at + chunkBytes), release() {} }
  }
}

interface Filling extends PooledBuffer {
  filledBytes: number
}

/** Memory of one's own. */
const OWN = { isOverdue: () => false, release() {} }
const NOTHING: Filling = { ...OWN, bytes: Buffer.alloc(0), filledBytes: 0 }

function chunkOf({ bytes, filledBytes, release }: Filling): Chunk {
  return { bytes: bytes.subarray(0, filledBytes), release }
}

async function grown(
  old: Filling,
  wantedBytes: number,
  pool: BufferPool,
  signal: AbortSignal,
): Promise<Filling> {
  const step = STEPS_BYTES.find((size) => size >= wantedBytes && size < pool.sizeBytes)
  const buffer =
    step === undefined ? await pool.take(signal) : { ...OWN, bytes: Buffer.allocUnsafeSlow(step) }
  const { filledBytes } = old
  buffer.bytes.set(old.bytes.subarray(0, filledBytes))
  return { ...buffer, filledBytes }
}

function bytesOf(piece: unknown): Uint8Array {
  if (piece instanceof Uint8Array) return piece
  if (typeof piece === 'string') return Buffer.from(piece, 'utf8')
  throw new StoreError('REQUEST_INVALID', `a stream gave a piece of type ${typeof piece}`)
}
