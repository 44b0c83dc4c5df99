import { LIMITS } from '../../base/limits.ts'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import { cancelledError, onAbort } from '../../runtime/abort.ts'
import type { Logger } from '../../runtime/logger.ts'
import { yieldTurn } from '../../runtime/yield-turn.ts'
import type { MetadataBatch, MetadataCondition } from '../metadata-store.ts'

/** What a group changes: the last value of each key; undefined: deleted. */
export type GroupWrite = ReadonlyMap<string, Uint8Array | undefined>

export interface CommitTarget {
  read(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]>
  /** Atomic, and durable when it returns. */
  write(group: GroupWrite): Promise<void>
  /** After a failed write: makes the target fit for writes again, or throws why it cannot. */
  renew(): Promise<void>
}

interface QueuedCommit {
  readonly batch: MetadataBatch
  readonly bytes: number
  readonly resolve: () => void
  readonly reject: (error: StoreError) => void
  /** Undefined once the commit's turn came: then it can no longer be cancelled. */
  aborting: Disposable | undefined
}

/**
 * Turns many commits into few synced writes. While one group is being written the next gathers:
 *
 *     add → [ line: metadataCommitsQueuedMax, metadataQueuedBytesMax ] → group → read, check, write
 *             ↓ full: OVERLOADED                                                 ↓
 *                                                                   all answered together
 *
 * Conditions are checked in the order of arrival against the store and, above it, what earlier
 * commits of the same group change. One that does not hold takes its commit out of the group, and
 * is reported when the group is on disk: what it was compared with might else never have been.
 *
 * After a write that failed for want of room, each group first tries to renew the target. After any
 * other failure nothing more is written: see `LevelStore`.
 */
export class CommitQueue {
  readonly #target: CommitTarget
  readonly #logger: Logger
  /** A set keeps the order of arrival and forgets a cancelled commit at once. */
  readonly #line = new Set<QueuedCommit>()
  #lineBytes = 0
  #failure: StoreError | undefined
  #running: Promise<void> | undefined

  constructor(target: CommitTarget, logger: Logger) {
    this.#target = target
    this.#logger = logger
  }

  get queuedCount(): number {
    return this.#line.size
  }

  /** @throws {StoreError} As `MetadataStore.commit`. */
  add(batch: MetadataBatch, signal: AbortSignal): Promise<void> {
    if (this.#failure !== undefined && this.#failure.code !== 'DISK_FULL') {
      return Promise.reject(refusal(this.#failure))
    }
    const bytes = batchBytes(batch)
    if (
      this.#line.size >= LIMITS.metadataCommitsQueuedMax.value ||
      this.#lineBytes + bytes > LIMITS.metadataQueuedBytesMax.value
    ) {
      const message = `${this.#line.size} commits of ${this.#lineBytes} bytes are already waiting`
      return Promise.reject(new StoreError('OVERLOADED', message))
    }
    return new Promise((resolve, reject) => {
      const commit: QueuedCommit = { batch, bytes, resolve, reject, aborting: undefined }
      commit.aborting = onAbort(signal, () => {
        this.#leave(commit)
        reject(cancelledError(signal, 'while waiting to commit'))
      })
      this.#line.add(commit)
      this.#lineBytes += bytes
      this.#running ??= this.#run()
    })
  }

  /** Waits until nothing is in line or under way. */
  async close(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    // Whatever arrives in the same turn of the event loop belongs into the same group.
    await yieldTurn()
    while (this.#line.size > 0) await this.#commitGroup(this.#takeGroup())
    this.#running = undefined
  }

  #takeGroup(): QueuedCommit[] {
    const group: QueuedCommit[] = []
    let bytes = 0
    for (const commit of this.#line) {
      bytes += commit.bytes
      if (group.length > 0 && bytes > LIMITS.metadataGroupBytesMax.value) break
      this.#leave(commit)
      group.push(commit)
      if (group.length === LIMITS.metadataGroupCommitsMax.value) break
    }
    return group
  }

  #leave(commit: QueuedCommit): void {
    commit.aborting?.[Symbol.dispose]()
    commit.aborting = undefined
    if (this.#line.delete(commit)) this.#lineBytes -= commit.bytes
  }

  async #commitGroup(group: readonly QueuedCommit[]): Promise<void> {
    const conflicts = new Map<QueuedCommit, StoreError>()
    try {
      if (this.#failure !== undefined) await this.#renew(this.#failure)
      const stored = await this.#readConditions(group)
      const write = mergeGroup(group, stored, conflicts)
      if (write.size > 0) await this.#write(write)
    } catch (error) {
      const failure = asStoreError(error)
      for (const commit of group) commit.reject(failure)
      return
    }
    for (const commit of group) {
      const conflict = conflicts.get(commit)
      if (conflict === undefined) commit.resolve()
      else commit.reject(conflict)
    }
  }

  async #readConditions(
    group: readonly QueuedCommit[],
  ): Promise<Map<string, Uint8Array | undefined>> {
    const keys = new Set<string>()
    for (const { batch } of group) {
      for (const condition of batch.conditions ?? []) keys.add(condition.key)
    }
    if (keys.size === 0) return new Map()
    const list = [...keys]
    const values = await this.#target.read(list)
    return new Map(list.map((key, index) => [key, values[index]]))
  }

  async #renew(failure: StoreError): Promise<void> {
    if (failure.code !== 'DISK_FULL') throw refusal(failure)
    await this.#target.renew()
    this.#failure = undefined
    this.#logger.info('metadata.writes_resumed')
  }

  async #write(group: GroupWrite): Promise<void> {
    try {
      await this.#target.write(group)
    } catch (error) {
      this.#failure = asStoreError(error)
      this.#logger.error('metadata.write_failed', { error })
      throw this.#failure
    }
  }
}

/** What the group writes as a whole; whom a condition takes out of it goes into `conflicts`. */
function mergeGroup(
  group: readonly QueuedCommit[],
  stored: ReadonlyMap<string, Uint8Array | undefined>,
  conflicts: Map<QueuedCommit, StoreError>,
): GroupWrite {
  const write = new Map<string, Uint8Array | undefined>()
  const currentOf = (key: string) => (write.has(key) ? write.get(key) : stored.get(key))
  for (const commit of group) {
    const { puts = [], deletes = [], conditions = [] } = commit.batch
    const failed = conditions.find((condition) => !holds(condition, currentOf(condition.key)))
    if (failed !== undefined) {
      conflicts.set(commit, conflictError(failed))
      continue
    }
    for (const { key, value } of puts) write.set(key, value)
    for (const key of deletes) write.set(key, undefined)
  }
  return write
}

function holds(condition: MetadataCondition, value: Uint8Array | undefined): boolean {
  if (condition.value === undefined || value === undefined) return condition.value === value
  return Buffer.compare(condition.value, value) === 0
}

function conflictError(condition: MetadataCondition): StoreError {
  const expected = condition.value === undefined ? 'absent' : 'as it was read'
  return new StoreError('METADATA_CONFLICT', `the row ${condition.key} is not ${expected}`)
}

function refusal(failure: StoreError): StoreError {
  return new StoreError(failure.code, 'an earlier write failed: nothing more is written', {
    cause: failure,
  })
}

function asStoreError(error: unknown): StoreError {
  if (isStoreError(error)) return error
  return new StoreError('DISK_FAILED', 'the store failed in an unknown way', { cause: error })
}

/** About what the batch holds in memory. */
function batchBytes(batch: MetadataBatch): number {
  let bytes = 0
  for (const { key, value } of batch.puts ?? []) bytes += key.length + value.length
  for (const key of batch.deletes ?? []) bytes += key.length
  for (const { key, value } of batch.conditions ?? []) bytes += key.length + (value?.length ?? 0)
  return bytes
}
