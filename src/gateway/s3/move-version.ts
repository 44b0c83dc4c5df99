import { StoreError } from '../../base/store-error.ts'
import type { HayloftClient } from '../../client/hayloft-client.ts'
import type { EventCause } from '../../namespace/event-record.ts'
import type { BucketRef, NamespaceApi } from '../../namespace/namespace-api.ts'
import {
  movedPairs,
  type NeedleOwner,
  type NeedlePairs,
  versionPairs,
} from '../../namespace/needle-pairs.ts'
import {
  isCodedClass,
  type ObjectVersion,
  publicVersionId,
  type StorageClass,
  type StoredPart,
} from '../../namespace/object-version.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Logger } from '../../runtime/logger.ts'
import { putOptions } from '../stored-bytes.ts'
import { isRefused, STORE_MS_MAX } from '../written-files.ts'
import { type Checksum, createChecksum } from './body/checksum.ts'
import { dropStored } from './handlers/store-body.ts'
import { newMd5 } from './message-digest.ts'

export type MoveClient = Pick<HayloftClient, 'delete' | 'getStream' | 'put'>

export interface MoveParts {
  readonly namespace: NamespaceApi
  readonly client: MoveClient
  /** Undefined: there are too few servers. */
  readonly codedPolicy: () => Promise<string | undefined>
  readonly clock: Clock
  readonly logger: Logger
}

export interface MoveTarget {
  readonly bucket: BucketRef
  readonly key: string
  /** As it was listed. */
  readonly version: ObjectVersion
  readonly storageClass: StorageClass
  /** It lies in copies, whatever its class: they were made when there were too few servers. */
  readonly isCopied?: boolean
  readonly cause?: EventCause | undefined
}

/** `waiting`: for more servers. `overtaken`: the version is gone, or was moved by somebody else. */
export type MoveOutcome = 'moved' | 'waiting' | 'overtaken'

/**
 * Gives a version a colder storage class, or its own where it is to be. What lies in copies and is
 * to be coded is copied into the coded policy, compared with the checksums it was stored with, and
 * read back and compared before the version is told to lie there; the old files are deleted by the
 * namespace. Between two coded classes, or two that are not, the bytes stay where they are.
 *
 * Readers find the whole object at every moment. A process that dies on the way leaves the version
 * as it was, and files that nothing names. Of two that move the same version one succeeds.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: the bytes are not what was stored; nothing is changed.
 * TIMEOUT: to copy them took 20 hours. Those of the client and of `NamespaceApi.changeObject`.
 */
export async function moveVersion(
  parts: MoveParts,
  target: MoveTarget,
  signal: AbortSignal,
): Promise<MoveOutcome> {
  const { bucket, key, version, storageClass } = target
  const isCopied = target.isCopied ?? !isCodedClass(version.storageClass)
  // A document lies as its strategy says, in any class: its files are told of by one of them.
  const isRecoded = isCopied && isCodedClass(storageClass) && version.document === undefined
  const policy = isRecoded ? await parts.codedPolicy() : undefined
  if (isRecoded && policy === undefined) return 'waiting'
  const place = { bucket, key, versionId: publicVersionId(version) }
  // Looked at again: another gateway may just have done it, and copies cost more than a look.
  const present = await parts.namespace.findObject(place, signal)
  if (present === undefined || !liesAs(present, version)) return 'overtaken'
  const copies =
    policy === undefined ? undefined : await copyAll(parts, { ...target, policy }, present, signal)
  const moved = {
    parts: copies ?? present.parts,
    storageClass,
    from: present.parts.map(({ fileId }) => fileId),
  }
  try {
    const change = { ...place, id: version.id, change: { moved }, cause: target.cause }
    await parts.namespace.changeObject(change, signal)
    return 'moved'
  } catch (error) {
    // Whatever else it is, the change may have happened: then the copies are the object.
    if (isRefused(error)) await dropAll(parts, copies ?? [], present.parts)
    throw error
  }
}

function liesAs(present: ObjectVersion, { id, parts, storageClass }: ObjectVersion): boolean {
  return (
    present.id === id &&
    present.storageClass === storageClass &&
    present.parts.length === parts.length &&
    present.parts.every(({ fileId }, index) => fileId === parts[index]?.fileId)
  )
}

interface CopyTarget extends MoveTarget {
  readonly policy: string
}

async function copyAll(
  parts: MoveParts,
  { bucket, key, policy, storageClass }: CopyTarget,
  version: ObjectVersion,
  signal: AbortSignal,
): Promise<readonly StoredPart[]> {
  const whole = new WholeSum(version)
  const isMultipart = version.etag.includes('-')
  const copies: StoredPart[] = []
  const startedAtMs = parts.clock.nowMs()
  try {
    for (const [index, part] of version.parts.entries()) {
      const owner: NeedleOwner = {
        bucket: bucket.name,
        key,
        version: version.id,
        partNumber: isMultipart ? index + 1 : undefined,
      }
      const { modifiedAtMs, seq } = version
      const made = { modifiedAtMs, seq }
      const told = (): NeedlePairs =>
        isMultipart
          ? movedPairs({ fromFileId: part.fileId, storageClass })
          : versionPairs({ ...version, parts: undefined, storageClass, made, isRecord: false })
      const options = putOptions(owner, storageClass, policy, signal, told)
      copies.push(await copyPart(parts.client, { part, version, whole, options }, signal))
    }
    whole.check()
    if (parts.clock.nowMs() - startedAtMs > STORE_MS_MAX) {
      throw new StoreError('TIMEOUT', 'the copy took so long that it may be collected by now')
    }
    return copies
  } catch (error) {
    await dropAll(parts, copies, version.parts)
    throw error
  }
}

interface PartCopy {
  readonly part: StoredPart
  readonly version: ObjectVersion
  readonly whole: WholeSum
  readonly options: ReturnType<typeof putOptions>
}

/** When this fails, nothing of the copy stays. */
async function copyPart(
  client: MoveClient,
  { options, part, version, whole }: PartCopy,
  signal: AbortSignal,
): Promise<StoredPart> {
  // Nothing cannot be split into shards, and takes no room.
  if (part.sizeBytes === 0) return part
  const original = new PartSum(version, part)
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of client.getStream(part.fileId, { signal })) {
      original.update(piece)
      whole.update(piece)
      yield piece
    }
    // Before the last piece is stored: a put whose source fails takes itself back.
    original.check(part.checksum)
  }
  const { fileId } = await client.put(pieces(), options)
  try {
    const copied = new PartSum(version, part)
    for await (const piece of client.getStream(fileId, { signal })) copied.update(piece)
    copied.check(original.value)
    return { ...part, fileId }
  } catch (error) {
    await client.delete(fileId).catch(() => undefined)
    throw error
  }
}

/** Size and checksum of one part, in the algorithm of the version. */
class PartSum {
  readonly #part: StoredPart
  readonly #sum: Checksum
  /** A part has a sum of its own only in the algorithm that its version names. */
  readonly #hasOwn: boolean
  #sizeBytes = 0
  #value: string | undefined

  constructor({ checksum }: ObjectVersion, part: StoredPart) {
    this.#part = part
    this.#sum = createChecksum(checksum?.algorithm ?? 'CRC64NVME')
    this.#hasOwn = checksum !== undefined
  }

  /** After the last byte, base64. */
  get value(): string {
    this.#value ??= this.#sum.digest().toString('base64')
    return this.#value
  }

  update(piece: Uint8Array): void {
    this.#sizeBytes += piece.length
    this.#sum.update(piece)
  }

  /** @throws {StoreError} NEEDLE_CORRUPT */
  check(expected: string | undefined): void {
    const isSame = expected === undefined || !this.#hasOwn || expected === this.value
    if (isSame && this.#sizeBytes === this.#part.sizeBytes) return
    throw new StoreError('NEEDLE_CORRUPT', `${this.#part.fileId} is not what was stored`)
  }
}

/** What all bytes together must give: the checksum if it is one of all, or the MD5 in the ETag. */
class WholeSum {
  readonly #expected: string | undefined
  readonly #sum: { update(piece: Uint8Array): unknown; end(): string } | undefined

  constructor({ checksum, etag }: ObjectVersion) {
    if (checksum?.type === 'FULL_OBJECT') {
      const sum = createChecksum(checksum.algorithm)
      this.#expected = checksum.value
      this.#sum = {
        update: (piece) => sum.update(piece),
        end: () => sum.digest().toString('base64'),
      }
    } else if (checksum === undefined && !etag.includes('-')) {
      const md5 = newMd5()
      this.#expected = etag
      this.#sum = { update: (piece) => md5.update(piece), end: () => md5.digest('hex') }
    }
  }

  update(piece: Uint8Array): void {
    this.#sum?.update(piece)
  }

  /** @throws {StoreError} NEEDLE_CORRUPT */
  check(): void {
    if (this.#sum === undefined || this.#sum.end() === this.#expected) return
    throw new StoreError('NEEDLE_CORRUPT', 'the bytes of the object are not what was stored')
  }
}

/** Parts without bytes were not copied: they are the version's own. */
async function dropAll(
  parts: MoveParts,
  copies: readonly StoredPart[],
  originals: readonly StoredPart[],
): Promise<void> {
  const kept = new Set(originals.map(({ fileId }) => fileId))
  for (const copy of copies) if (!kept.has(copy.fileId)) await dropStored(parts, copy)
}
