import { cookie as asCookie, needleIdFromNumber, type VolumeId } from '../../src/base/ids.ts'
import type { ReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type { Ttl } from '../../src/base/ttl.ts'
import type { ReportedVolumeState, VolumeReport } from '../../src/net/master-api.ts'
import type { NeedleStat, NeedleSummary, VolumeExtent } from '../../src/net/volume-api.ts'

/** One record of `.dat`. `content` stands for the bytes: two with the same are the same. */
export interface ModelRecord {
  readonly needle: number
  readonly isTombstone: boolean
  readonly content: number
  readonly sizeBytes: number
  readonly appendAtNs: bigint
  isCorrupt: boolean
}

interface Entry {
  readonly record: ModelRecord
  readonly isDeleted: boolean
}

const RECORD_BYTES = 24
const NS_PER_MS = 1_000_000n
const COOKIE = asCookie(7)

/** A copy of a volume: an append-only list of records, and an index into it. */
export class ModelCopy {
  readonly volumeId: VolumeId
  readonly directoryId: string
  readonly collection: string
  readonly ttl: Ttl
  replication: ReplicaPlacement
  state: ReportedVolumeState = 'writable'
  revision = 0
  modifiedAtMs: number
  hasIndexDamage = false
  #log: ModelRecord[] = []
  readonly #index = new Map<number, Entry>()

  constructor(facts: {
    readonly volumeId: VolumeId
    readonly directoryId: string
    readonly collection: string
    readonly replication: ReplicaPlacement
    readonly ttl: Ttl
    readonly nowMs: number
  }) {
    this.volumeId = facts.volumeId
    this.directoryId = facts.directoryId
    this.collection = facts.collection
    this.replication = facts.replication
    this.ttl = facts.ttl
    this.modifiedAtMs = facts.nowMs
  }

  get extent(): VolumeExtent {
    const datBytes = this.#log.reduce((sum, { sizeBytes }) => sum + sizeBytes + RECORD_BYTES, 8)
    return { datBytes, compactionRevision: this.revision }
  }

  get records(): readonly ModelRecord[] {
    return this.#log
  }

  /** Undefined: absent. */
  entry(needle: number): Entry | undefined {
    return this.#index.get(needle)
  }

  /** The content, if it lives here and is good. */
  good(needle: number): number | undefined {
    const entry = this.#index.get(needle)
    if (entry === undefined || entry.isDeleted || entry.record.isCorrupt) return undefined
    return entry.record.content
  }

  isLive(needle: number): boolean {
    return this.#index.get(needle)?.isDeleted === false
  }

  /** It can be read, and takes what belongs there. */
  get isSound(): boolean {
    return this.state === 'writable' || this.state === 'sealed'
  }

  /** What was appended behind `after`, or all; with the end of each. */
  *tail(
    after: VolumeExtent | undefined,
  ): Generator<{ readonly record: ModelRecord; readonly endBytes: number }> {
    const { datBytes, compactionRevision } = this.extent
    const isOther = after !== undefined && after.compactionRevision !== compactionRevision
    if (isOther || (after?.datBytes ?? 0) > datBytes) {
      throw new StoreError('VOLUME_CHANGED', 'it was vacuumed, or is shorter')
    }
    let endBytes = 8
    for (const record of this.#log) {
      const isNew = endBytes >= (after?.datBytes ?? 0)
      endBytes += record.sizeBytes + RECORD_BYTES
      if (isNew) yield { record, endBytes }
    }
  }

  put(needle: number, content: number, sizeBytes: number, appendAtNs: bigint): void {
    this.#refuseIfBad()
    const record = {
      needle,
      isTombstone: false,
      content,
      sizeBytes,
      appendAtNs,
      isCorrupt: false,
    }
    this.#log.push(record)
    this.#index.set(needle, { record, isDeleted: false })
    this.modifiedAtMs = Number(appendAtNs / NS_PER_MS)
  }

  /** A tombstone, if it lives here. */
  delete(needle: number, appendAtNs: bigint): boolean {
    this.#refuseIfBad()
    const entry = this.#index.get(needle)
    if (entry === undefined || entry.isDeleted) return false
    this.#bury(needle, appendAtNs)
    return true
  }

  /** What another copy has appended from that extent on; the number of records that were new. */
  catchUp(source: ModelCopy, from: VolumeExtent): number {
    if (source.revision !== from.compactionRevision) {
      throw new StoreError('VOLUME_CHANGED', 'it was vacuumed')
    }
    let atBytes = 8
    let count = 0
    for (const record of source.#log) {
      const isNew = atBytes >= from.datBytes
      atBytes += record.sizeBytes + RECORD_BYTES
      if (!isNew) continue
      if (record.isCorrupt) throw new StoreError('PEER_FAILED', 'a corrupt record')
      if (this.#replay(record)) count++
    }
    return count
  }

  cloneTo(directoryId: string): ModelCopy {
    const { volumeId, collection, replication, ttl, modifiedAtMs } = this
    const facts = { volumeId, directoryId, collection, replication, ttl, nowMs: modifiedAtMs }
    const clone = new ModelCopy(facts)
    clone.revision = this.revision
    if (this.state === 'sealed') clone.state = 'sealed'
    const clones = new Map(this.#log.map((record) => [record, { ...record }]))
    clone.#log = [...clones.values()]
    for (const [needle, { record, isDeleted }] of this.#index) {
      const cloned = clones.get(record)
      if (cloned !== undefined) clone.#index.set(needle, { record: cloned, isDeleted })
    }
    return clone
  }

  vacuum(dropsTombstones: boolean, skipsDamage: boolean): void {
    const live = [...this.#index].filter(([, { isDeleted }]) => !isDeleted)
    if (live.some(([, { record }]) => record.isCorrupt)) {
      throw new StoreError('NEEDLE_CORRUPT', 'a live needle cannot be read')
    }
    if (!skipsDamage && this.#log.some(({ isCorrupt }) => isCorrupt)) {
      throw new StoreError('NEEDLE_CORRUPT', 'garbage cannot be read')
    }
    const kept = new Set(live.map(([, { record }]) => record))
    for (const [needle, { record, isDeleted }] of [...this.#index]) {
      if (!isDeleted) continue
      if (dropsTombstones) this.#index.delete(needle)
      else {
        const tombstone = { ...record, isTombstone: true, sizeBytes: 0, isCorrupt: false }
        kept.add(tombstone)
        this.#index.set(needle, { record: tombstone, isDeleted: true })
      }
    }
    this.#log = [...kept]
    this.revision++
    if (this.state !== 'sealed') this.state = 'writable'
    this.hasIndexDamage = false
  }

  /** All ids known above `after`, ascending. */
  list(after: number, count: number): NeedleSummary[] {
    const needles = [...this.#index.keys()].filter((needle) => needle > after)
    return needles
      .sort((a, b) => a - b)
      .slice(0, count)
      .map((needle) => {
        const { record, isDeleted = false } = this.#index.get(needle) ?? {}
        const sizeBytes = record?.sizeBytes ?? 0
        return { needleId: needleIdFromNumber(needle), sizeBytes, isDeleted }
      })
  }

  stat(needle: number): NeedleStat {
    const entry = this.#index.get(needle)
    const needleId = needleIdFromNumber(needle)
    const nothing = { cookie: asCookie(0), checksum: 0, dataBytes: 0, attributesHash: 0 }
    const appendAtNs = entry?.record.appendAtNs ?? 0n
    if (entry === undefined) return { needleId, state: 'absent', ...nothing, appendAtNs: 0n }
    if (entry.isDeleted) return { needleId, state: 'deleted', ...nothing, appendAtNs }
    if (entry.record.isCorrupt) return { needleId, state: 'corrupt', ...nothing, appendAtNs }
    const { content: checksum, sizeBytes: dataBytes } = entry.record
    const live = { cookie: COOKIE, checksum, dataBytes, attributesHash: 1 }
    return { needleId, state: 'live', ...live, appendAtNs }
  }

  /** By ids and sizes; `isDeep`: by contents as well. */
  digest(isDeep: boolean): string {
    const live = [...this.#index].filter(([, { isDeleted }]) => !isDeleted)
    const texts = live.map(([needle, { record }]) => {
      return `${needle}:${record.sizeBytes}${isDeep ? `:${record.content}` : ''}`
    })
    return texts.sort().join(' ')
  }

  get liveNeedles(): number {
    return [...this.#index.values()].filter(({ isDeleted }) => !isDeleted).length
  }

  get report(): VolumeReport {
    const { volumeId, collection, replication, ttl, state, directoryId, liveNeedles } = this
    return {
      volumeId,
      collection,
      replication,
      ttl,
      state,
      reason: '',
      liveNeedles,
      liveBytes: 0,
      garbageBytes: 0,
      ...this.extent,
      directoryId,
      modifiedAtS: Math.floor(this.modifiedAtMs / 1000),
      digest: '',
      requestsPerS: 0,
    }
  }

  #replay(record: ModelRecord): boolean {
    const { needle, content, sizeBytes } = record
    if (record.isTombstone) {
      if (this.#index.get(needle)?.isDeleted === true) return false
      this.#bury(needle, record.appendAtNs)
      return true
    }
    if (this.good(needle) === content) return false
    this.put(needle, content, sizeBytes, record.appendAtNs)
    return true
  }

  #bury(needle: number, appendAtNs: bigint): void {
    const tombstone = {
      needle,
      isTombstone: true,
      content: 0,
      sizeBytes: 0,
      appendAtNs,
      isCorrupt: false,
    }
    this.#log.push(tombstone)
    this.#index.set(needle, { record: tombstone, isDeleted: true })
    this.modifiedAtMs = Number(appendAtNs / NS_PER_MS)
  }

  #refuseIfBad(): void {
    if (this.state === 'damaged') throw new StoreError('VOLUME_DAMAGED', 'read-only')
    if (this.state === 'failed') throw new StoreError('VOLUME_FAILED', 'read-only')
  }
}
