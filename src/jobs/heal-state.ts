import { crc32c } from '../base/crc32c.ts'
import { HEAL_COUNTS, type HealCount, type HealPlan } from '../net/heal-facts.ts'
import type { JobCounts } from '../net/jobs-api.ts'
import { readPlace, type WalkPlace } from './heal-walk.ts'
import { asCount, asFields, readCursor } from './job-cursor.ts'

export const HEAL_STAGES = ['intents', 'dirty', 'copies', 'lost', 'verify'] as const
export type HealStage = (typeof HEAL_STAGES)[number]

/** More volumes that are still needed are not told apart: then none is given up. */
const NEEDED_MAX = 500

const PAUSE_FIRST_MS = 30_000
const PAUSE_MAX_MS = 600_000
/** Lists of shards that lack copies are waited for: until then no shard can be named in them. */
const COPIES_WAIT_MS = 300_000

/** Files with shards on lost volumes could not be healed the last time. */
interface Pause {
  /** Which volumes were lost, as a checksum. */
  readonly lost: number
  readonly tries: number
  /** By the wall clock. */
  readonly untilMs: number
}

/**
 * How far a pass is, and what passes tell each other. As text it is the cursor of the job, which
 * goes on from one pass to the next.
 */
export class HealState {
  stage: HealStage
  /** In the walk for lost shards; undefined: at its start. */
  lostPlace: WalkPlace | undefined
  hasWalkBegun: boolean
  /** Somebody writes who may have stored shards on a lost volume, and has not named them yet. */
  hasOldWriters: boolean
  /** Volumes with shards of files that could not be healed. */
  readonly #needed: Set<number>
  #isAllNeeded: boolean
  /** In the round over all files; undefined: at its start. */
  verifyPlace: WalkPlace | undefined
  #pause: Pause | undefined
  /** By the wall clock; 0: not now. */
  #copiesAwaitedSinceMs: number
  readonly #counts: Record<HealCount, number>
  #isOver = false

  constructor(cursor: string) {
    const fields = readCursor(cursor)
    this.stage = HEAL_STAGES.find((known) => known === fields['stage']) ?? 'intents'
    this.lostPlace = readPlace(fields['lostPlace'])
    this.hasWalkBegun = fields['hasWalkBegun'] === true
    this.hasOldWriters = fields['hasOldWriters'] === true
    const { needed } = fields
    this.#needed = new Set(Array.isArray(needed) ? needed.flatMap((id) => asCount(id) ?? []) : [])
    this.#isAllNeeded = fields['isAllNeeded'] === true
    this.verifyPlace = readPlace(fields['verifyPlace'])
    this.#pause = readPause(fields['pause'])
    this.#copiesAwaitedSinceMs = asCount(fields['copiesAwaitedSinceMs']) ?? 0
    const counts = asFields(fields['counts'])
    const known = HEAL_COUNTS.map((name) => [name, asCount(counts?.[name]) ?? 0])
    this.#counts = Object.fromEntries(known)
  }

  get cursor(): string {
    return JSON.stringify({
      stage: this.stage,
      lostPlace: this.lostPlace,
      hasWalkBegun: this.hasWalkBegun,
      hasOldWriters: this.hasOldWriters,
      needed: [...this.#needed],
      isAllNeeded: this.#isAllNeeded,
      verifyPlace: this.verifyPlace,
      pause: this.#pause,
      copiesAwaitedSinceMs: this.#copiesAwaitedSinceMs,
      ...(this.#isOver ? {} : { counts: this.#counts }),
    })
  }

  get counts(): JobCounts {
    return this.#counts
  }

  count(name: HealCount, amount = 1): void {
    this.#counts[name] += amount
  }

  /** From now on the cursor has what the next pass is to know, and no more. */
  endPass(): void {
    this.stage = 'intents'
    this.endWalk()
    this.#isOver = true
  }

  setCount(name: HealCount, amount: number): void {
    this.#counts[name] = amount
  }

  beginWalk(): void {
    this.endWalk()
    this.hasWalkBegun = true
  }

  endWalk(): void {
    this.lostPlace = undefined
    this.hasWalkBegun = false
    this.hasOldWriters = false
    this.#needed.clear()
    this.#isAllNeeded = false
  }

  /** A file that could not be healed has something on these. */
  need(volumeIds: Iterable<number>): void {
    for (const volumeId of volumeIds) this.#needed.add(volumeId)
    if (this.#needed.size <= NEEDED_MAX) return
    this.#needed.clear()
    this.#isAllNeeded = true
  }

  needAll(): void {
    this.#isAllNeeded = true
  }

  get isAnyNeeded(): boolean {
    return this.#isAllNeeded || this.#needed.size > 0
  }

  isNeeded(volumeId: number): boolean {
    return this.#isAllNeeded || this.#needed.has(volumeId)
  }

  /** The same walk came to nothing a short while ago. */
  isPausing(plan: HealPlan, nowMs: number): boolean {
    const pause = this.#pause
    if (pause === undefined || pause.lost !== checksumOf(plan)) return false
    // A clock that was wrong, and is right again, may have written down any time.
    return nowMs < pause.untilMs && pause.untilMs - nowMs <= PAUSE_MAX_MS
  }

  /** `isWhole`: nothing is missed any more. */
  noteWalk(plan: HealPlan, isWhole: boolean, nowMs: number): void {
    if (isWhole) {
      this.#pause = undefined
      return
    }
    const lost = checksumOf(plan)
    const tries = this.#pause?.lost === lost ? this.#pause.tries + 1 : 1
    const waitMs = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** Math.min(tries - 1, 10))
    this.#pause = { lost, tries, untilMs: nowMs + waitMs }
  }

  /** Copies of the lists of shards are being made: a walk now would only fail. */
  isWaitingForCopies(plan: HealPlan, nowMs: number): boolean {
    if (plan.repairVolumeIds.length === 0) {
      this.#copiesAwaitedSinceMs = 0
      return false
    }
    if (this.#copiesAwaitedSinceMs === 0) this.#copiesAwaitedSinceMs = nowMs
    return nowMs - this.#copiesAwaitedSinceMs < COPIES_WAIT_MS
  }
}

function readPause(value: unknown): Pause | undefined {
  const fields = asFields(value)
  const lost = asCount(fields?.['lost'])
  const tries = asCount(fields?.['tries'])
  const untilMs = asCount(fields?.['untilMs'])
  if (lost === undefined || tries === undefined || untilMs === undefined) return undefined
  return { lost, tries, untilMs }
}

function checksumOf({ lostVolumeIds }: HealPlan): number {
  return crc32c(Buffer.from([...lostVolumeIds].sort((a, b) => a - b).join()))
}

const WORDS: readonly (readonly [HealCount, string])[] = [
  ['intentsUndone', 'writes undone'],
  ['objectsCompleted', 'objects completed'],
  ['copiesRepaired', 'volumes copied'],
  ['objectsCopied', 'objects in them'],
  ['objectsHealed', 'objects healed'],
  ['shardsMade', 'shards made'],
  ['corruptFound', 'shards were corrupt'],
  ['filesRewritten', 'files stored anew'],
  ['volumesForgotten', 'lost volumes given up'],
  ['filesVerified', 'files verified'],
  ['failures', 'failures'],
]

/** For people. */
export function healSummary(counts: JobCounts, why: string): string {
  const parts = WORDS.filter(([name]) => (counts[name] ?? 0) > 0).map(
    ([name, what]) => `${counts[name]} ${what}`,
  )
  const text = parts.length === 0 ? 'nothing to do' : parts.join(', ')
  return why === '' ? text : `${text}: ${why}`
}
