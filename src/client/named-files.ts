import { formatFileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { MasterApi, NamedFile } from '../net/master-api.ts'
import type { NamedEntry, PutResult } from './client-api.ts'
import type { FileDeleter } from './file-deleter.ts'
import { isUnsettled, type RetryParts, RetryTurns, retryMaster } from './retry-turns.ts'

export interface NamedFilesParts extends RetryParts {
  readonly master: MasterApi
  readonly deleter: FileDeleter
  readonly closing: AbortSignal
}

/** A page of them is at most a megabyte. */
const PAGE_NAMES = 1000

/** Names for files, as the master keeps them. */
export class NamedFiles {
  readonly #parts: NamedFilesParts

  constructor(parts: NamedFilesParts) {
    this.#parts = parts
  }

  /**
   * Gives a file that was just put its name. When the name certainly did not come about, the file
   * is deleted again; when that is not known, it stays.
   */
  async link(name: string, file: PutResult, signal: AbortSignal): Promise<void> {
    const { deleter, master } = this.#parts
    const link = { name, fileId: parseFileId(file.fileId), dataBytes: file.sizeBytes }
    const turns = new RetryTurns(this.#parts, signal)
    let isOpen = false
    for (;;) {
      try {
        // An attempt whose answer was lost may have succeeded, and is not to be repeated then.
        if (isOpen && (await this.#isLinked(name, file.fileId, signal))) return
        await master.linkName(link, signal)
        return
      } catch (error) {
        isOpen ||= isUnsettled(error)
        try {
          await turns.next(error)
        } catch (final) {
          const { closing } = this.#parts
          if (!isOpen) await deleter.delete(file.fileId, false, closing).catch(() => undefined)
          throw final
        }
      }
    }
  }

  async resolve(name: string, signal: AbortSignal): Promise<NamedEntry> {
    const { master } = this.#parts
    return entryOf(await retryMaster(this.#parts, () => master.resolveName(name, signal), signal))
  }

  /** False: there was no such name. */
  async unlink(name: string, signal: AbortSignal): Promise<boolean> {
    const turns = new RetryTurns(this.#parts, signal)
    let isOpen = false
    for (;;) {
      try {
        await this.#parts.master.unlinkName(name, signal)
        return true
      } catch (error) {
        // An attempt whose answer was lost has removed it.
        if (isStoreError(error, 'NAME_NOT_FOUND')) return isOpen
        isOpen ||= isUnsettled(error)
        await turns.next(error)
      }
    }
  }

  async *list(prefix: string, signal: AbortSignal): AsyncGenerator<NamedEntry, void, undefined> {
    const { master } = this.#parts
    const limit = PAGE_NAMES
    for (let after = ''; ; ) {
      const list = () => master.listNames({ prefix, after, limit }, signal)
      const page = await retryMaster(this.#parts, list, signal)
      for (const file of page) yield entryOf(file)
      const last = page.at(-1)
      if (last === undefined || page.length < limit) return
      after = last.name
    }
  }

  async #isLinked(name: string, fileId: string, signal: AbortSignal): Promise<boolean> {
    try {
      const found = await this.#parts.master.resolveName(name, signal)
      return formatFileId(found.fileId) === fileId
    } catch (error) {
      if (isStoreError(error, 'NAME_NOT_FOUND')) return false
      throw error
    }
  }
}

function entryOf(file: NamedFile): NamedEntry {
  const { dataBytes, fileId, modifiedAtMs, name } = file
  return { name, fileId: formatFileId(fileId), sizeBytes: dataBytes, modifiedAtMs }
}

/** The last part of a name, when a needle can keep it. */
export function shortName(name: string): string | undefined {
  const last = name.slice(name.lastIndexOf('/') + 1)
  const isShort = last !== '' && Buffer.byteLength(last, 'utf8') <= LIMITS.needleNameMax.value
  return isShort ? last : undefined
}
