import type { HayloftClient } from '../client/hayloft-client.ts'
import { type NeedleOwner, type NeedlePairs, ownerPairs } from '../namespace/needle-pairs.ts'
import {
  isCodedClass,
  type ObjectVersion,
  type StorageClass,
  type StoredPart,
} from '../namespace/object-version.ts'
import type { ByteRange } from './byte-range.ts'

/** Objects in copies and erasure-coded ones lie on volumes of their own. */
export const COPIED_COLLECTION = 's3'
export const CODED_COLLECTION = 's3-coded'

/** Likewise, of the gateways beside S3. */
export const DOOR_COLLECTIONS = {
  objects: 'objects',
  codedObjects: 'objects-coded',
  documents: 'documents',
  codedDocuments: 'documents-coded',
  files: 'files',
} as const

/**
 * Where gateways keep the bytes of objects: those of each on volumes of their own. Whoever compares
 * rows with volumes looks at all of these, and at no others.
 */
const OBJECT_COLLECTIONS: readonly string[] = [
  COPIED_COLLECTION,
  CODED_COLLECTION,
  ...Object.values(DOOR_COLLECTIONS),
]

export function isObjectCollection(collection: string): boolean {
  return OBJECT_COLLECTIONS.includes(collection)
}

/** Files there are erasure-coded one by one; the needle that has the id of one lists its shards. */
export function isCodedCollection(collection: string): boolean {
  return isObjectCollection(collection) && collection.endsWith('-coded')
}

/** How a put of an object's bytes is to be stored. `told` is asked when they have all been read. */
export function putOptions(
  owner: NeedleOwner,
  storageClass: StorageClass,
  codedPolicy: string | undefined,
  signal: AbortSignal,
  told?: () => NeedlePairs,
) {
  const pairs = ownerPairs(owner)
  const isCoded = isCodedClass(storageClass) && codedPolicy !== undefined
  const where = isCoded
    ? { collection: CODED_COLLECTION, policy: codedPolicy }
    : { collection: COPIED_COLLECTION }
  return { pairs, chunkPairs: pairs, pairsAtEnd: told, signal, ...where }
}

/** Parts that are fetched before they are asked for, when an object has several. */
const PARTS_AHEAD = 3
/** Parts up to this size are fetched in one piece; larger ones read ahead by themselves. */
const WHOLE_PART_BYTES_MAX = 8 * 1024 * 1024

interface PartAhead {
  readonly slot: Disposable
  /** Once it is there it is the caller's, and others may be read ahead. */
  takeOut(): Promise<Uint8Array>
}

interface Segment {
  readonly part: StoredPart
  /** Within the part. */
  readonly range: ByteRange
}

/** The bytes of a version, all or a range, as a stream; several parts are read side by side. */
export async function* readVersion(
  client: HayloftClient,
  version: Pick<ObjectVersion, 'parts'>,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const segments = segmentsOf(version.parts, range)
  const ahead: (PartAhead | undefined)[] = []
  const stopping = new AbortController()
  const signals = AbortSignal.any([signal, stopping.signal])
  try {
    for (const [index, segment] of segments.entries()) {
      for (let next = ahead.length; next <= index + PARTS_AHEAD && next < segments.length; next++) {
        ahead.push(fetchAhead(client, segments[next], signals))
      }
      const whole = ahead[index]
      if (whole !== undefined) {
        ahead[index] = undefined
        yield await whole.takeOut()
      } else {
        yield* client.getStream(segment.part.fileId, { range: segment.range, signal: signals })
      }
    }
  } finally {
    stopping.abort()
    for (const part of ahead) part?.slot[Symbol.dispose]()
  }
}

/** The first piece is fetched before the answer begins: what cannot be read at all is an error. */
export async function begun(
  pieces: AsyncGenerator<Uint8Array, void, undefined>,
): Promise<AsyncIterable<Uint8Array>> {
  const first = await pieces.next()
  return (async function* () {
    try {
      if (first.done === true) return
      yield first.value
      yield* pieces
    } finally {
      await pieces.return()
    }
  })()
}

/** A range that lies in one part, and is small enough to be held; undefined: use `readVersion`. */
export function readHeld(
  client: HayloftClient,
  version: Pick<ObjectVersion, 'parts' | 'sizeBytes'>,
  range: ByteRange,
  bytesMax: number,
  signal: AbortSignal,
): Buffer | Promise<Buffer> | undefined {
  if (range.end - range.start > bytesMax) return undefined
  const [segment, second] = segmentsOf(version.parts, range)
  if (segment === undefined) return Buffer.alloc(0)
  if (second !== undefined) return undefined
  const { part, range: wanted } = segment
  const whole = client.getNow(part.fileId)
  if (whole?.length === part.sizeBytes) return whole.subarray(wanted.start, wanted.end)
  return fetchSegment(client, segment, signal)
}

function fetchAhead(
  client: HayloftClient,
  segment: Segment | undefined,
  signal: AbortSignal,
): PartAhead | undefined {
  if (segment === undefined) return undefined
  const { end, start } = segment.range
  if (end - start > WHOLE_PART_BYTES_MAX) return undefined
  // Readers in no hurry, however many, must not hold more than that: then parts come one by one.
  const slot = client.tryReadAhead()
  if (slot === undefined) return undefined
  const fetching = fetchSegment(client, segment, signal)
  // Whoever comes to it gets the error; until then it is nobody's.
  fetching.catch(() => undefined)
  const takeOut = () => fetching.finally(() => slot[Symbol.dispose]())
  return { slot, takeOut }
}

async function fetchSegment(
  client: HayloftClient,
  { part, range }: Segment,
  signal: AbortSignal,
): Promise<Buffer> {
  const isWhole = range.start === 0 && range.end === part.sizeBytes
  const options = isWhole ? { signal } : { range, signal }
  return (await client.get(part.fileId, options)).data
}

function segmentsOf(parts: readonly StoredPart[], range: ByteRange): Segment[] {
  const segments: Segment[] = []
  let at = 0
  for (const part of parts) {
    const start = Math.max(0, range.start - at)
    const end = Math.min(part.sizeBytes, range.end - at)
    if (start < end) segments.push({ part, range: { start, end } })
    at += part.sizeBytes
    if (at >= range.end) break
  }
  return segments
}
