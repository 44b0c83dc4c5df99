import type { NeedleId } from '../base/ids.ts'
import { formatNeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, type StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { HealAnswer } from '../net/volume-api.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

export interface HealResult {
  /** They are there now, good, by this call or before. */
  readonly healed: readonly NeedleId[]
  /** A tombstone there wins. */
  readonly deleted: readonly NeedleId[]
  /** No source has a good one. */
  readonly unavailable: readonly NeedleId[]
}

/**
 * Brings needles to a copy from the first of `sources` that has them good: the target fetches them
 * itself, and may reach one server where it does not reach another.
 *
 * @throws {StoreError} what keeps the target from storing them; why a source could not be asked
 * for a needle that no other one has.
 */
export async function healNeedles(
  work: VolumeWork,
  request: {
    readonly target: NodeLocation
    readonly sources: readonly NodeLocation[]
    readonly needleIds: readonly NeedleId[]
  },
  signal: AbortSignal,
): Promise<HealResult> {
  const { target, sources } = request
  const healed: NeedleId[] = []
  const deleted: NeedleId[] = []
  const unavailable: NeedleId[] = []
  for (const chunk of chunksOf(request.needleIds)) {
    let wanted = chunk
    let unasked: StoreError | undefined
    for (const source of sources) {
      if (wanted.length === 0) break
      const answers = await healFrom(work, { target, source, needleIds: wanted }, signal)
      if (!Array.isArray(answers)) {
        unasked ??= answers
        continue
      }
      const idsOf = (...outcomes: HealAnswer['outcome'][]) =>
        answers.filter(({ outcome }) => outcomes.includes(outcome)).map(({ needleId }) => needleId)
      healed.push(...idsOf('healed', 'unchanged'))
      deleted.push(...idsOf('deleted'))
      wanted = idsOf('unavailable')
    }
    if (wanted.length > 0 && unasked !== undefined) throw unasked
    unavailable.push(...wanted)
  }
  return { healed, deleted, unavailable }
}

/** Answers why, if it is the source that failed. */
async function healFrom(
  work: VolumeWork,
  request: {
    readonly target: NodeLocation
    readonly source: NodeLocation
    readonly needleIds: readonly NeedleId[]
  },
  signal: AbortSignal,
): Promise<HealAnswer[] | StoreError> {
  const { target, source, needleIds } = request
  try {
    const command = { ...work.command, source, needleIds }
    return [...(await work.at(target).healNeedles(command, signal))]
  } catch (error) {
    // Which of the two servers is out of reach cannot be told: the next source shows it.
    if (isOutOfReach(error) || isStoreError(error, 'PEER_FAILED')) return error
    throw error
  }
}

/** At most as many ids at a time as one call takes. */
export function* chunksOf<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  const length = LIMITS.healNeedlesMax.value
  for (let at = 0; at < items.length; at += length) yield items.slice(at, at + length)
}

const NAMED_MAX = 10

/** For messages: the first few ids, and how many there are. */
export function nameNeedles(needleIds: readonly NeedleId[]): string {
  // A needle may have been found on every copy.
  const names = [...new Set(needleIds.map(formatNeedleId))]
  const named = names.slice(0, NAMED_MAX).join(', ')
  return names.length <= NAMED_MAX ? named : `${named}, … (${names.length} in all)`
}
