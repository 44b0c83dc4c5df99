import { isStoreError, StoreError } from '../base/store-error.ts'
import type { HayloftClient } from '../client/hayloft-client.ts'
import type { NeedlePairs } from '../namespace/needle-pairs.ts'
import { COPIED_COLLECTION } from './stored-bytes.ts'

/** Orphans by file id, with the time of the pass that saw them first. */
export type SeenOrphans = Readonly<Record<string, number>>

export interface LedgerPage {
  /** 0: no pass was ever completed. */
  readonly generation: number
  /** When the last pass began, also one that was not completed; 0: none did. */
  readonly begunAtMs: number
  /** What automatic passes saw. */
  readonly seen: SeenOrphans
}

/** A page as the namespace names it; without a file id there is none. */
export type NamedPage = LedgerPage & { readonly fileId: string | undefined }

type LedgerClient = Pick<HayloftClient, 'putNamed' | 'resolveNamed' | 'get'>

/** In the master's metadata, beside the rows of buckets: a backup of one is one of the other. */
const LEDGER_NAME = 'hayloft/orphan-ledger'
const GENERATION_PAIR = 'S3-Generation'
/** More than this look like orphans only where something is wrong: the others are seen anew. */
export const SEEN_MAX = 10_000
const NO_PAGE: NamedPage = { generation: 0, begunAtMs: 0, seen: {}, fileId: undefined }

/**
 * What passes over orphans know of each other, and by which a namespace that came from a backup is
 * known: a named file, so that both sides have a part of it.
 *
 *     namespace  name of the ledger -> file id of the page
 *     volumes    page: {"generation":g+1,"begunAtMs":…,"seen":{…}}, pair S3-Generation: g
 *
 * - Each pass that is completed makes the generation one higher. The pair has the generation that
 *   the namespace already had when the page was stored, so a volume never has a higher one than
 *   the namespace, whenever a process ends.
 * - The page that was replaced is deleted from the volumes. So rows of a backup name a page that is
 *   gone, or no page while volumes have one, or one of a lower generation than volumes have. Only a
 *   backup that was taken since the last pass began looks like the newest one.
 * - Who stored the page that is named now may delete, and nobody else.
 */
export class OrphanLedger {
  readonly #client: LedgerClient

  constructor(client: LedgerClient) {
    this.#client = client
  }

  /**
   * @throws {StoreError} METADATA_CORRUPT: the page that is named is gone, or cannot be read. Those
   * of the client.
   */
  async read(signal: AbortSignal): Promise<NamedPage> {
    const fileId = await this.#named(signal)
    if (fileId === undefined) return NO_PAGE
    try {
      const { data } = await this.#client.get(fileId, { signal })
      const page = readPage(data)
      if (page !== undefined) return { ...page, fileId }
    } catch (error) {
      if (!isStoreError(error, 'NEEDLE_NOT_FOUND')) throw error
      // It may have been replaced just now.
      if ((await this.#named(signal)) !== fileId) return await this.read(signal)
      const what = `the ledger of orphans is gone: ${LEDGER_NAME} names ${fileId}`
      throw new StoreError('METADATA_CORRUPT', what, { cause: error })
    }
    throw new StoreError('METADATA_CORRUPT', `the ledger of orphans, ${fileId}, cannot be read`)
  }

  /** Returns the id of the page. `before` is the generation that the namespace has until then. */
  async write(page: LedgerPage, before: number, signal: AbortSignal): Promise<string> {
    const seen = Object.fromEntries(Object.entries(page.seen).slice(0, SEEN_MAX))
    const { begunAtMs, generation } = page
    const text = JSON.stringify({ generation, begunAtMs, seen })
    const pairs = { [GENERATION_PAIR]: String(before) }
    const options = { collection: COPIED_COLLECTION, mime: 'application/json', pairs, signal }
    return (await this.#client.putNamed(LEDGER_NAME, text, options)).fileId
  }

  /** Nobody has stored another page since. */
  async isNewest(fileId: string | undefined, signal: AbortSignal): Promise<boolean> {
    return (await this.#named(signal)) === fileId
  }

  async #named(signal: AbortSignal): Promise<string | undefined> {
    try {
      return (await this.#client.resolveNamed(LEDGER_NAME, { signal })).fileId
    } catch (error) {
      if (isStoreError(error, 'NAME_NOT_FOUND')) return undefined
      throw error
    }
  }
}

/** Undefined: the needle is no page of the ledger. */
export function readGeneration(pairs: NeedlePairs | undefined): number | undefined {
  const generation = Number(pairs?.[GENERATION_PAIR])
  return Number.isSafeInteger(generation) && generation >= 0 ? generation : undefined
}

function readPage(data: Buffer): LedgerPage | undefined {
  let value: unknown
  try {
    value = JSON.parse(data.toString('utf8'))
  } catch {
    return undefined
  }
  const { begunAtMs, generation, seen } = (value ?? {}) as Readonly<Record<string, unknown>>
  const isSound = isCount(generation) && isCount(begunAtMs) && isSeen(seen)
  return isSound ? { generation, begunAtMs, seen } : undefined
}

/** A list of orphans that was read may be anything. */
export function isSeen(value: unknown): value is SeenOrphans {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every((atMs) => Number.isSafeInteger(atMs))
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
