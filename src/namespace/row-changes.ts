import { parseFileId } from '../base/file-id.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import type { MetadataBatch, MetadataCondition, MetadataStore } from '../metadata/metadata-store.ts'
import { readingMs } from './delete-delay.ts'
import type { EventLane } from './event-record.ts'
import { encodeIntent, encodeOwner, intentKey, ownerKey } from './named-file-record.ts'
import type { BucketUsage } from './namespace-api.ts'

/** Tries of one change that others got ahead of: more than one process would be needed for two. */
const CHANGE_TRIES_MAX = 8

/** A batch being put together. */
export class RowChanges {
  readonly #puts = new Map<string, Uint8Array>()
  readonly #deletes = new Set<string>()
  readonly #conditions: MetadataCondition[] = []
  readonly #deleteAtMs: number
  readonly #usage = { bytes: 0, objects: 0 }
  readonly #lanes: EventLane[] = []

  /** `deleteAtMs`: when files that lose their name here are deleted, or later if they are large. */
  constructor(deleteAtMs: number) {
    this.#deleteAtMs = deleteAtMs
  }

  put(key: string, value: Uint8Array): void {
    this.#deletes.delete(key)
    this.#puts.set(key, value)
  }

  delete(key: string): void {
    this.#puts.delete(key)
    this.#deletes.add(key)
  }

  /** The change happens only if the row is still what was read. */
  expect(key: string, value: Uint8Array | undefined): void {
    this.#conditions.push({ key, value })
  }

  /**
   * The file is deleted some time after the change; the intent outlives any crash. Until then its
   * row of `name-files` tells `checkFilesKept` that nothing may name it again. `sizeBytes` is that
   * of all that is read together with it, as the parts of a version are; 0: nobody reads it.
   */
  dropFile(fileId: string, sizeBytes: number, owner = ''): void {
    const id = parseFileId(fileId)
    this.put(intentKey(this.#deleteAtMs + readingMs(sizeBytes), id), encodeIntent(0))
    this.put(ownerKey(id), encodeOwner(owner))
  }

  /** Whether there was a row, and whether there is one after the change. */
  fateOf(key: string): { readonly before: boolean; readonly after: boolean } {
    const isPut = this.#puts.has(key)
    if (!isPut && !this.#deletes.has(key)) return { before: false, after: false }
    const condition = this.#conditions.find((found) => found.key === key)
    // A row that nobody looked at may be there or not: of both what the change is made for.
    return {
      before: condition === undefined ? !isPut : condition.value !== undefined,
      after: isPut,
    }
  }

  /** What the bucket has more by the change; less, when negative. */
  count(bytes: number, objects: number): void {
    this.#usage.bytes += bytes
    this.#usage.objects += objects
  }

  /** The row of an event that tells of the change. */
  putEvent(lane: EventLane, key: string, value: Uint8Array): void {
    this.put(key, value)
    this.#lanes.push(lane)
  }

  /** Of each event, the lane it is in. */
  get eventLanes(): readonly EventLane[] {
    return this.#lanes
  }

  get usage(): BucketUsage {
    return this.#usage
  }

  /** Rows that are written or deleted. */
  get size(): number {
    return this.#puts.size + this.#deletes.size
  }

  get batch(): MetadataBatch {
    return {
      puts: Array.from(this.#puts, ([key, value]) => ({ key, value })),
      deletes: [...this.#deletes],
      conditions: this.#conditions,
    }
  }
}

/** Without changes there is nothing to do. */
export interface Plan<Result> {
  readonly result: Result
  readonly changes?: RowChanges | undefined
}

/**
 * Commits plans one by one; its users see to it that two plans for the same rows take turns.
 *
 * A commit that failed with the disk may still be found to have happened (`MetadataStore.commit`):
 * what is stored is in doubt until another commit got through. Meanwhile caches keep nothing, and
 * no change is planned.
 */
export class RowCommits {
  readonly #store: MetadataStore
  readonly #onDoubt: (() => void)[] = []
  #isInDoubt = false
  #doubtCount = 0

  constructor(store: MetadataStore) {
    this.#store = store
  }

  get isInDoubt(): boolean {
    return this.#isInDoubt
  }

  /** Runs `run` whenever what was read before may be something else soon. */
  onDoubt(run: () => void): void {
    this.#onDoubt.push(run)
  }

  /**
   * Commits what `plan` makes of the rows as they are now, and plans again if they changed
   * meanwhile.
   *
   * @throws {StoreError} OVERLOADED: others were faster every time. Whatever `plan` and the store
   * throw.
   */
  async commit<Result>(
    plan: () => Promise<Plan<Result>>,
    signal: AbortSignal,
  ): Promise<Plan<Result>> {
    for (let tries = 1; ; tries++) {
      await this.settle(signal)
      const planned = await plan()
      if (planned.changes === undefined) return planned
      try {
        await this.#commit(planned.changes.batch, signal)
        return planned
      } catch (error) {
        if (!isStoreError(error, 'METADATA_CONFLICT')) throw error
        if (tries < CHANGE_TRIES_MAX) continue
        const message = `others changed the same rows ${tries} times meanwhile`
        throw new StoreError('OVERLOADED', message, { cause: error })
      }
    }
  }

  /** After it, what is stored is not in doubt. @throws {StoreError} The errors of the store. */
  async settle(signal: AbortSignal): Promise<void> {
    while (this.#isInDoubt) {
      const doubtCount = this.#doubtCount
      // Nothing is changed; but behind it lies whatever the failed ones did.
      await this.#commit({}, signal)
      // One that failed meanwhile may lie behind this one, and come yet.
      if (this.#doubtCount === doubtCount) this.#isInDoubt = false
    }
  }

  async #commit(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    try {
      await this.#store.commit(batch, signal)
    } catch (error) {
      if (mayHaveHappened(error)) this.#doubt()
      throw error
    }
  }

  #doubt(): void {
    this.#isInDoubt = true
    this.#doubtCount++
    for (const run of this.#onDoubt) run()
  }
}

/** Nothing may name a file again that lost its name: a repetition that comes too late would. */
export async function checkFilesKept(
  store: MetadataStore,
  fileIds: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  if (fileIds.length === 0) return
  const keys = fileIds.map((fileId) => ownerKey(parseFileId(fileId)))
  const owners = await store.getMany(keys, signal)
  const dropped = owners.findIndex((owner) => owner !== undefined)
  if (dropped < 0) return
  const message = `the file ${quote(fileIds[dropped] ?? '')} belongs to another name, or did before`
  throw new StoreError('REQUEST_INVALID', message)
}

/** All other errors of a commit say that nothing was changed. */
function mayHaveHappened(error: unknown): boolean {
  return !isStoreError(error, 'METADATA_CONFLICT', 'OVERLOADED', 'CANCELLED', 'CLOSED')
}
