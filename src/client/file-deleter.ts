import { type FileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { BatchDeleteAnswer, DeleteRequest, VolumeApi } from '../net/volume-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { DeleteResult, Settled } from './client-api.ts'
import type { FileNeedles, FileReader } from './file-reader.ts'
import type { ClientTokens } from './file-tokens.ts'
import type { OrphanSweeper } from './orphan-sweeper.ts'
import type { Replicas } from './replicas.ts'

export interface DeleterParts {
  readonly replicas: Replicas
  readonly reader: FileReader
  readonly orphans: OrphanSweeper
  readonly tokens: ClientTokens
}

/** One of a batch. */
interface Item {
  readonly text: string
  fileId: FileId | undefined
  outcome: Settled<DeleteResult> | undefined
}

const WAS_NOT_LIVE: DeleteResult = { wasLive: false }

/** Deletes files, chunks and shards first: what is cut short can be deleted again. */
export class FileDeleter {
  readonly #parts: DeleterParts

  constructor(parts: DeleterParts) {
    this.#parts = parts
  }

  async delete(text: string, isSingleNeedle: boolean, signal: AbortSignal): Promise<DeleteResult> {
    const fileId = parseFileId(text)
    if (!isSingleNeedle) {
      const needles = await this.#needlesOf(fileId, signal)
      if (needles === undefined) return WAS_NOT_LIVE
      await this.#deleteAll(needles, signal)
    }
    return this.#deleteNeedle(fileId, signal)
  }

  /** One outcome for each, in their order. */
  async deleteBatch(
    texts: readonly string[],
    isSingleNeedle: boolean,
    signal: AbortSignal,
  ): Promise<readonly Settled<DeleteResult>[]> {
    const items = texts.map(newItem)
    const open = items.filter((item) => item.outcome === undefined)
    const atOnce = LIMITS.batchInFlightDefault.value
    if (!isSingleNeedle) {
      const expand = (item: Item) => settleInto(item, () => this.#expandItem(item, signal))
      await mapBounded(open, atOnce, expand, signal)
    }
    const rest = open.filter((item) => item.outcome === undefined)
    const byServer = await this.#byServer(rest, signal)
    await mapBounded(byServer, LIMITS.chunksInFlightMax.value, (group) => group.run(), signal)
    const failed = rest.filter((item) => item.outcome === undefined)
    const single = (item: Item) =>
      settleInto(item, async () => {
        item.outcome = settled(await this.#deleteNeedle(item.fileId as FileId, signal))
      })
    await mapBounded(failed, atOnce, single, signal)
    return items.map((item) => item.outcome as Settled<DeleteResult>)
  }

  /**
   * As many as will go now; the others later, in the background: how many those are. Never rejects.
   */
  async deleteSoon(fileIds: readonly FileId[], signal: AbortSignal): Promise<number> {
    let leftCount = 0
    const deleteOne = async (fileId: FileId): Promise<void> => {
      try {
        await this.deleteOnce(fileId, this.#parts.tokens.write(fileId), signal)
      } catch (error) {
        if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return
        leftCount++
        this.#parts.orphans.add({ fileId, writeToken: this.#parts.tokens.write(fileId) })
      }
    }
    await Promise.all(Array.from(fileIds, deleteOne))
    return leftCount
  }

  /** A single attempt. */
  async deleteOnce(fileId: FileId, writeToken: string, signal: AbortSignal): Promise<void> {
    const { replicas } = this.#parts
    const location = await replicas.locate(fileId.volumeId, signal)
    if (location === undefined) throw new StoreError('UNAVAILABLE', 'no copy is in reach')
    const request = { fileId, writeToken, isReplica: false }
    await replicas.connect(location).delete(request, signal)
  }

  async #expandItem(item: Item, signal: AbortSignal): Promise<void> {
    const needles = await this.#needlesOf(item.fileId as FileId, signal)
    if (needles === undefined) item.outcome = settled(WAS_NOT_LIVE)
    else await this.#deleteAll(needles, signal)
  }

  /** Undefined: there is no such file. */
  async #needlesOf(fileId: FileId, signal: AbortSignal): Promise<FileNeedles | undefined> {
    try {
      return await this.#parts.reader.needlesOf(fileId, signal)
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return undefined
      throw error
    }
  }

  async #deleteAll(needles: FileNeedles, signal: AbortSignal): Promise<void> {
    const deleteOne = async (fileId: FileId): Promise<void> => {
      try {
        await this.#deleteNeedle(fileId, signal)
      } catch (error) {
        // A coded file outlives servers that are given up for ever, and their volumes.
        if (!needles.isCoded || !isStoreError(error, 'VOLUME_NOT_FOUND')) throw error
      }
    }
    await mapBounded(needles.fileIds, LIMITS.batchInFlightDefault.value, deleteOne, signal)
  }

  #deleteNeedle(fileId: FileId, signal: AbortSignal): Promise<DeleteResult> {
    const { replicas } = this.#parts
    const request = this.#request(fileId)
    const attempt = async (volume: VolumeApi): Promise<DeleteResult> => {
      try {
        return { wasLive: (await volume.delete(request, signal)).wasLive }
      } catch (error) {
        if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return WAS_NOT_LIVE
        throw error
      }
    }
    return replicas.run(fileId.volumeId, attempt, signal)
  }

  #request(fileId: FileId): DeleteRequest {
    return { fileId, writeToken: this.#parts.tokens.write(fileId), isReplica: false }
  }

  /** What cannot be located now is left for the attempts one by one, which say why. */
  async #byServer(
    items: readonly Item[],
    signal: AbortSignal,
  ): Promise<readonly { readonly run: () => Promise<void> }[]> {
    const { replicas } = this.#parts
    const groups = new Map<string, { readonly volume: VolumeApi; readonly items: Item[] }>()
    const locate = async (item: Item): Promise<void> => {
      const { volumeId } = item.fileId as FileId
      try {
        const location = await replicas.locate(volumeId, signal)
        if (location === undefined) return
        const known = groups.get(location.url)
        const group = known ?? { volume: replicas.connect(location), items: [] }
        group.items.push(item)
        groups.set(location.url, group)
      } catch (error) {
        if (isStoreError(error, 'CANCELLED') || !(error instanceof StoreError)) throw error
      }
    }
    await mapBounded(items, LIMITS.batchInFlightDefault.value, locate, signal)
    return Array.from(groups.values(), (group) => ({
      run: () => this.#deleteGroup(group.volume, group.items, signal),
    }))
  }

  async #deleteGroup(volume: VolumeApi, items: readonly Item[], signal: AbortSignal) {
    const requests = items.map((item) => this.#request(item.fileId as FileId))
    let answers: readonly BatchDeleteAnswer[]
    try {
      answers = await volume.batchDelete(requests, signal)
    } catch (error) {
      if (isStoreError(error, 'CANCELLED') || !(error instanceof StoreError)) throw error
      return // They are tried one by one.
    }
    for (const [index, item] of items.entries()) {
      const answer = answers[index]
      if (answer === undefined || answer.error !== undefined) continue
      item.outcome = settled({ wasLive: answer.wasLive })
    }
  }
}

function newItem(text: string): Item {
  try {
    return { text, fileId: parseFileId(text), outcome: undefined }
  } catch (error) {
    if (!isStoreError(error)) throw error
    return { text, fileId: undefined, outcome: { value: undefined, error } }
  }
}

/** A failure becomes the item's; only an abort ends the batch. */
async function settleInto(item: Item, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isStoreError(error) || error.code === 'CANCELLED') throw error
    item.outcome = { value: undefined, error }
  }
}

function settled(value: DeleteResult): Settled<DeleteResult> {
  return { value, error: undefined }
}
