import { type ErrorCode, isStoreError } from '../../src/base/store-error.ts'
import type { MetadataBatch } from '../../src/metadata/metadata-store.ts'
import { Namespace } from '../../src/namespace/namespace.ts'
import { FaultyStore } from './faulty-store.ts'
import { EMPTY, type Outcome, type State } from './namespace-model.ts'
import type { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'
import { SortedStore } from './sorted-store.ts'

/** Something a client does, and what the model says it does. */
export interface Operation {
  /** For the message of a failing test. */
  readonly text: string
  /** Files that have a name for the first time when it succeeds. */
  readonly fileIds?: readonly string[]
  readonly run: (namespace: Namespace, signal: AbortSignal) => Promise<unknown>
  /** Pure. `batch` is what the namespace commits for it. */
  readonly apply: (state: State, batch?: MetadataBatch) => Outcome
  /** Told of the result when there was one. */
  readonly onDone?: (value: unknown) => void
}

interface Running {
  readonly operation: Operation
  /** The state in which it began. */
  readonly from: number
  applied: Outcome | undefined
}

/** Whether it happened is not said; these two say that it did not. */
const UNKNOWN: readonly ErrorCode[] = ['DISK_FULL', 'DISK_FAILED', 'CLOSED']
const NOT_DONE: readonly ErrorCode[] = ['OVERLOADED', 'CANCELLED']

export const DELETE_DELAY_MS = 10_000

/**
 * A namespace over a failing store, beside the model of it. The model changes in the moment in
 * which a commit takes effect; an operation that commits nothing must give what the model gives in
 * one of the states it saw.
 */
export class NamespaceWorld {
  readonly clock = new SimClock()
  readonly rows = new SortedStore()
  readonly states: State[] = [EMPTY]
  /** What is wrong. */
  readonly faults: string[] = []
  readonly givenFiles = new Set<string>()
  readonly #prng: Prng
  readonly #running = new Map<AbortSignal, Running>()
  #store: FaultyStore
  #namespace: Namespace
  #failChance = 0

  constructor(prng: Prng) {
    this.#prng = prng
    this.#store = this.#openStore()
    this.#namespace = this.#open()
  }

  get state(): State {
    return this.states.at(-1) ?? EMPTY
  }

  get namespace(): Namespace {
    return this.#namespace
  }

  set failChance(chance: number) {
    this.#failChance = chance
    this.#store.failChance = chance
  }

  /** The process ends in the middle of what it does, and begins anew. */
  crash(): void {
    this.#store.crash()
    this.#store = this.#openStore()
    this.#namespace = this.#open()
  }

  async run(operation: Operation, abort = new AbortController()): Promise<void> {
    const running: Running = { operation, from: this.states.length - 1, applied: undefined }
    for (const fileId of operation.fileIds ?? []) this.givenFiles.add(fileId)
    this.#running.set(abort.signal, running)
    try {
      const value = await operation.run(this.#namespace, abort.signal)
      this.#check(running, value, undefined)
      operation.onDone?.(value)
    } catch (error) {
      if (!isStoreError(error)) throw error
      this.#check(running, undefined, error.code)
    }
  }

  #check(running: Running, value: unknown, error: ErrorCode | undefined): void {
    const { applied, from, operation } = running
    const got = textOf({ value, error })
    if (error !== undefined && UNKNOWN.includes(error)) return
    if (error !== undefined && NOT_DONE.includes(error)) {
      if (applied !== undefined) this.#blame(operation, `says ${error}, but happened`)
      return
    }
    if (applied !== undefined) {
      if (textOf(applied) !== got) this.#blame(operation, `gave ${got}, not ${textOf(applied)}`)
      return
    }
    const seen = this.states.slice(from)
    const outcomes = seen.map((before) => ({ ...operation.apply(before), before }))
    const isExplained = outcomes.some(
      (outcome) => outcome.state === outcome.before && textOf(outcome) === got,
    )
    if (isExplained) return
    const expected = outcomes.map((outcome) => textOf(outcome)).join(' or ')
    this.#blame(operation, `gave ${got} without a commit, not ${expected}`)
  }

  #onApplied(batch: MetadataBatch, signal: AbortSignal): void {
    if ((batch.puts ?? []).length + (batch.deletes ?? []).length === 0) return
    const running = this.#running.get(signal)
    if (running === undefined) {
      this.faults.push('a commit that is nobody’s')
      return
    }
    const { operation } = running
    const outcome = operation.apply(this.state, batch)
    if (running.applied !== undefined) this.#blame(operation, 'happened twice')
    if (outcome.error !== undefined) this.#blame(operation, `happened in spite of ${outcome.error}`)
    if (outcome.state === this.state) this.#blame(operation, 'commits, but changes nothing')
    running.applied = outcome
    this.states.push(outcome.state)
  }

  #blame({ text }: Operation, what: string): void {
    this.faults.push(`${text}: ${what}`)
  }

  #openStore(): FaultyStore {
    const store = new FaultyStore({
      rows: this.rows,
      prng: this.#prng,
      onApplied: (batch, signal) => this.#onApplied(batch, signal),
    })
    store.failChance = this.#failChance
    return store
  }

  #open(): Namespace {
    const parts = { store: this.#store, clock: this.clock, random: this.#prng }
    return new Namespace(parts, { deleteDelayMs: DELETE_DELAY_MS })
  }
}

/** The same text for the same value; what is undefined is left out. */
export function textOf(value: unknown): string {
  const { value: result, error } = value as { value?: unknown; error?: unknown }
  return error === undefined ? (JSON.stringify(result, sorted) ?? 'nothing') : String(error)
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
