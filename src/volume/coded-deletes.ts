import type { FileId } from '../base/file-id.ts'
import type { NeedleId, VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { readCodedNeedle } from '../erasure/coded-needles.ts'
import { recordBytes } from '../format/needle.ts'
import type { DeleteAnswer, DeleteRequest } from '../net/volume-api.ts'
import { allEnded } from '../runtime/all-ended.ts'
import type { NeedleLocation } from '../storage/needle-map.ts'
import { LargeNeedle } from '../storage/needle-reader.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { Store } from '../storage/store.ts'
import type { Volume } from '../storage/volume.ts'
import type { CodedVolumes } from './coded-volumes.ts'
import type { NeedleWrites } from './needle-writes.ts'
import type { Copies } from './replicate.ts'
import type { ReplicatedWrite, ReplicatedWrites } from './replicated-writes.ts'
import type { WriteEntry } from './write-entry.ts'
import type { WriteGate } from './write-gate.ts'

export interface CodedDeletesParts {
  readonly store: Store
  readonly coded: CodedVolumes
  readonly gate: WriteGate
  readonly entry: WriteEntry
  readonly writes: NeedleWrites
  /** Undefined: this server is alone. */
  readonly replicas: ReplicatedWrites | undefined
  /** Aborts when this server closes. */
  readonly stop: AbortSignal
}

/** A stripe says itself how many servers it has; nobody knows of one: then some must be missing. */
const COPIES_UNKNOWN = 1
const NOTHING: DeleteAnswer = { wasLive: false, freedBytes: 0 }

/**
 * Deletes of volumes of which there are shards, here or elsewhere. Wherever a delete arrives first
 * its cookie is compared with the needle's; only then the others are told, who believe it.
 */
export class CodedDeletes {
  readonly #parts: CodedDeletesParts

  constructor(parts: CodedDeletesParts) {
    this.#parts = parts
  }

  /**
   * Undefined: the volume is not erasure-coded, and its copy here decides.
   *
   * @throws {StoreError} COOKIE_MISMATCH, VOLUME_NOT_FOUND, VOLUME_BUSY, REPLICATION_FAILED,
   * SHARDS_LOST, DISK_FULL, DISK_FAILED, CANCELLED.
   */
  async delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer | undefined> {
    const { gate, entry, replicas, coded, store } = this.#parts
    const { fileId } = request
    const { volumeId } = fileId
    for (;;) {
      await entry.pass(request, signal)
      const { thawCount } = gate
      if (request.isReplica) return await entry.inside(fileId, () => this.#everywhereHere(fileId))
      if (!(await coded.isCoded(volumeId, signal))) {
        if (store.find(volumeId) !== undefined) return undefined
        throw notHere(volumeId)
      }
      if (!(await this.#isThere(fileId, signal))) return NOTHING
      const copies = await replicas?.copies('delete', fileId, COPIES_UNKNOWN, signal)
      if (gate.isFrozen(volumeId) || gate.thawCount !== thawCount) continue
      if (replicas === undefined || copies === undefined) {
        return await entry.inside(fileId, () => this.#everywhereHere(fileId))
      }
      return await entry.count(this.#send(request, replicas, copies))
    }
  }

  async #send(
    request: DeleteRequest,
    replicas: ReplicatedWrites,
    copies: Copies,
  ): Promise<DeleteAnswer> {
    const { entry, writes } = this.#parts
    const { fileId } = request
    using _write = writes.begin(fileId)
    const replicated: ReplicatedWrite<DeleteAnswer> = {
      fileId,
      copyCount: COPIES_UNKNOWN,
      dataBytes: 0,
      here: () => entry.inside(fileId, () => this.#everywhereHere(fileId)),
      send: (peer, hop) => peer.delete({ ...request, isReplica: true }, hop.signal),
    }
    return await replicas.delete(replicated, copies)
  }

  /**
   * False: there never was such a needle. One that is deleted already was perhaps not deleted
   * everywhere.
   *
   * @throws {StoreError} COOKIE_MISMATCH; as `CodedVolumes.read`.
   */
  async #isThere(fileId: FileId, signal: AbortSignal): Promise<boolean> {
    const { store, coded } = this.#parts
    const { volumeId, needleId: id, cookie } = fileId
    const copy = store.find(volumeId)?.volume
    const set = await coded.current(volumeId, signal).catch((error: unknown) => {
      if (copy !== undefined && isStoreError(error, 'VOLUME_NOT_FOUND')) return undefined
      throw error
    })
    if (set === undefined) return copy !== undefined && (await isInCopy(copy, fileId))
    set.noteRequest()
    const found = set.index.find(id)
    if (found === undefined || found.isDeleted) return found !== undefined
    const reader = coded.readerOf(set)
    const wholeBytesMax = LIMITS.answeredWholeMax.value
    try {
      const request = { id, cookie }
      const needle = await readCodedNeedle(reader, set.index, request, wholeBytesMax, signal)
      if (!('data' in needle)) needle[Symbol.dispose]()
      return true
    } catch (error) {
      // Deleted in this moment, or its time is over.
      if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return set.index.hasDeleted(id)
      throw error
    }
  }

  /** The copy that is here, if there is one, and the journals of all runs. */
  async #everywhereHere(fileId: FileId): Promise<DeleteAnswer> {
    const { store, stop } = this.#parts
    const { volumeId, needleId, cookie } = fileId
    const copy = store.find(volumeId)?.volume
    const sets = store.shardSets(volumeId)
    if (copy === undefined && sets.length === 0) throw notHere(volumeId)
    const copyAnswer = copy?.delete({ id: needleId, cookie }, stop)
    // Should the cookie be wrong after all, nothing has happened yet.
    await copyAnswer?.catch((error: unknown) => {
      if (isStoreError(error, 'COOKIE_MISMATCH')) throw error
    })
    const answers = sets.map((set) => answerOf(set, needleId))
    const journaled = await allEnded(sets.map((set) => this.#journal(set, needleId)))
    // One may have come meanwhile that was made before.
    if (copy === undefined)
      await store.find(volumeId)?.volume.delete({ id: needleId, cookie }, stop)
    if (copyAnswer !== undefined) answers.push(await copyAnswer)
    else if (!journaled.includes(true)) throw notHere(volumeId)
    return answers.find(({ wasLive }) => wasLive) ?? NOTHING
  }

  /** False: the set is removed in this moment. */
  async #journal(set: ShardSet, id: NeedleId): Promise<boolean> {
    try {
      await set.deleteNeedles([id])
      return true
    } catch (error) {
      const isLeft = this.#parts.store.shardSets(set.run.volumeId).includes(set)
      if (isLeft || !isStoreError(error, 'CLOSED')) throw error
      return false
    }
  }
}

/** As the run itself says. */
function answerOf({ index, run }: ShardSet, id: NeedleId): DeleteAnswer {
  const found = index.find(id)
  if (found === undefined || found.isDeleted) return NOTHING
  return { wasLive: true, freedBytes: recordBytes(found.sizeBytes, run.version) }
}

async function isInCopy(copy: Volume, fileId: FileId): Promise<boolean> {
  const { needleId: id, cookie } = fileId
  const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  if (!copy.entries.lookup(id, location)) return false
  if (location.isDeleted) return true
  try {
    const found = await copy.read({ id, cookie, wholeBytesMax: LIMITS.answeredWholeMax.value })
    if (found instanceof LargeNeedle) found[Symbol.dispose]()
    return true
  } catch (error) {
    // Its time is over, and nobody can tell any more that the cookie is right.
    if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return false
    throw error
  }
}

function notHere(volumeId: VolumeId): StoreError {
  return new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not here`)
}
