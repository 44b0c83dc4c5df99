import { formatNeedleId, type NeedleId } from '../base/ids.ts'
import type { VolumeCopyFacts } from '../net/jobs-api.ts'
import type { FixOutcome } from './needle-fixes.ts'

/** What a repair has done so far, for people. */
export class RepairTally {
  joinedCount = 0
  leftCount = 0
  removedCount = 0
  resolvedCount = 0
  #healedCount = 0
  #deletedCount = 0
  readonly #corrupt = new Map<string, NeedleId>()
  #awaited: readonly string[] = []

  /** Needles of which no copy was good when last looked at. */
  get corruptNeedles(): readonly NeedleId[] {
    return [...this.#corrupt.values()]
  }

  get summary(): string {
    const counts: [number, string][] = [
      [this.joinedCount, 'copies added'],
      [this.leftCount, 'members left'],
      [this.removedCount, 'copies removed'],
      [this.#healedCount, 'needles healed'],
      [this.#deletedCount, 'needles deleted'],
      [this.resolvedCount, 'dirty needles resolved'],
    ]
    const parts = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`)
    if (this.#awaited.length > 0) parts.push(`waits for ${this.#awaited.join(', ')}`)
    return parts.length === 0 ? 'nothing to do' : parts.join(', ')
  }

  count(outcome: FixOutcome): void {
    this.#healedCount += outcome.healedCount
    this.#deletedCount += outcome.deletedCount
    for (const id of outcome.corrupt) this.#corrupt.set(formatNeedleId(id), id)
  }

  waitsFor(copies: readonly VolumeCopyFacts[]): void {
    this.#awaited = copies.map(({ location }) => location.url)
  }
}
