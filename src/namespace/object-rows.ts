import { StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import { decodeObjectVersion, type ObjectVersion } from './object-version.ts'
import { type KeyRange, nullKey, objectKey, versionKey, versionRange } from './row-keys.ts'
import { isVersionId, timeOfVersionId } from './version-id.ts'

/** A version as it lies in the store. */
export interface VersionRow {
  readonly key: string
  readonly value: Uint8Array
  readonly version: ObjectVersion
}

/** Ids are made this much before their version is committed, clocks of several hosts included. */
const ID_AHEAD_MS = 60_000
const US_PER_MS = 1000
const SEQ_BYTES = 8

/**
 * Finds the versions of a key. The row in `objects` is the newest version unless that is a marker;
 * all others are in `versions`, the newest first. What takes more than one row to find may be
 * missed while the key changes: whoever looks for it keeps changes away.
 */
export class ObjectRows {
  readonly #store: MetadataStore

  constructor(store: MetadataStore) {
    this.#store = store
  }

  /** The version that readers see. */
  async current(
    bucketId: number,
    key: string,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    const row = objectKey(bucketId, key)
    return versionRow(row, await this.#store.get(row, signal))
  }

  /** The newest of those in `versions`. */
  async newestHidden(
    bucketId: number,
    key: string,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    return await this.#first(versionRange(bucketId, key), false, signal)
  }

  /** Older than the version with this sequence number. */
  async nextHidden(
    bucketId: number,
    key: string,
    seq: number,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    const { lt } = versionRange(bucketId, key)
    return await this.#first({ gte: `${versionKey(bucketId, key, seq)}\0`, lt }, false, signal)
  }

  /** The version `null`, unless it is the current one. */
  async hiddenNull(
    bucketId: number,
    key: string,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    const nullRow = nullKey(bucketId, key)
    const seq = await this.#store.get(nullRow, signal)
    if (seq === undefined) return undefined
    const row = versionKey(bucketId, key, decodeSeq(seq, nullRow))
    return versionRow(row, await this.#store.get(row, signal))
  }

  /** By the id that clients know: the version `null` only by that name. */
  async find(
    bucketId: number,
    key: string,
    versionId: string,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    const current = await this.current(bucketId, key, signal)
    if (versionId === 'null') {
      if (current?.version.isNull === true) return current
      return await this.hiddenNull(bucketId, key, signal)
    }
    if (!isVersionId(versionId)) return undefined
    const found =
      current?.version.id === versionId
        ? current
        : await this.hiddenMade(bucketId, key, versionId, signal)
    return found?.version.isNull === true ? undefined : found
  }

  /**
   * The one of those in `versions` that was made with this id, whatever clients call it.
   *
   * Sequence numbers are times of commits, and an id has the time at which it was made: so the
   * version is looked for from that time upward, and everywhere else only if it is not there.
   */
  async hiddenMade(
    bucketId: number,
    key: string,
    id: string,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    const { lt } = versionRange(bucketId, key)
    const hasId = ({ version }: VersionRow) => version.id === id
    return (
      (await this.hiddenSince(bucketId, key, id, signal)) ??
      (await this.#first({ gte: rowOfId(bucketId, key, id), lt }, false, signal, hasId))
    )
  }

  /** As `hiddenMade`, but only among what was committed since the id was made. */
  async hiddenSince(
    bucketId: number,
    key: string,
    id: string,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    const { gte } = versionRange(bucketId, key)
    const later = { gte, lt: rowOfId(bucketId, key, id) }
    return await this.#first(later, true, signal, ({ version }) => version.id === id)
  }

  /** Of those in `versions` the lowest one at or above a sequence number. */
  async hiddenAtOrAbove(
    bucketId: number,
    key: string,
    seq: number,
    signal: AbortSignal,
  ): Promise<VersionRow | undefined> {
    const { gte } = versionRange(bucketId, key)
    return await this.#first({ gte, lt: `${versionKey(bucketId, key, seq)}\0` }, true, signal)
  }

  async #first(
    range: KeyRange,
    reverse: boolean,
    signal: AbortSignal,
    isWanted?: (row: VersionRow) => boolean,
  ): Promise<VersionRow | undefined> {
    const scan = isWanted === undefined ? { ...range, reverse, limit: 1 } : { ...range, reverse }
    for await (const { key, value } of this.#store.scan(scan, signal)) {
      const row = { key, value, version: decodeObjectVersion(value, key) }
      if (isWanted === undefined || isWanted(row)) return row
    }
    return undefined
  }
}

export function encodeSeq(seq: number): Buffer {
  const row = Buffer.alloc(SEQ_BYTES)
  row.writeBigUInt64BE(BigInt(seq))
  return row
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeSeq(bytes: Uint8Array, key: string): number {
  const row = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const seq = row.length === SEQ_BYTES ? Number(row.readBigUInt64BE(0)) : Number.NaN
  if (Number.isSafeInteger(seq)) return seq
  throw new StoreError('METADATA_CORRUPT', `the row ${key} cannot be read`)
}

/** A version with this id was most likely committed above this row. */
function rowOfId(bucketId: number, key: string, id: string): string {
  const fromSeq = Math.max(0, (timeOfVersionId(id) - ID_AHEAD_MS) * US_PER_MS)
  return versionKey(bucketId, key, Math.min(fromSeq, Number.MAX_SAFE_INTEGER))
}

function versionRow(key: string, value: Uint8Array | undefined): VersionRow | undefined {
  return value && { key, value, version: decodeObjectVersion(value, key) }
}
