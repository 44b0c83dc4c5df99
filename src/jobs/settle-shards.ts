import type { NeedleId } from '../base/ids.ts'
import type { DirtyNeedle } from '../net/jobs-api.ts'
import { type OnRefused, tryJournal } from './shard-journals.ts'
import type { StripeSurvey } from './stripe-survey.ts'
import { holdersOf } from './stripe-survey.ts'
import type { VolumeWork } from './volume-work.ts'

/** Needles of the volume that are recorded as dirty, all of them, in pages. */
export async function* listDirty(
  work: VolumeWork,
  signal: AbortSignal,
): AsyncGenerator<readonly DirtyNeedle[], void, undefined> {
  const { volumeId } = work
  let after: NeedleId | undefined
  for (;;) {
    const page = await work.context.jobs.listDirty({ volumeId, after }, signal)
    after = page.at(-1)?.needleId
    if (after === undefined) return
    yield page
  }
}

/**
 * Deletes that some server has missed are done at every one that can be reached. `resolves`: nobody
 * else has to hear of them, and records are taken back; those of needles to be checked only up to
 * `checkedUpToMs`: every shard has been read since. The number of records taken back.
 *
 * What is recorded as put was equal everywhere when the volume was coded.
 */
export async function settleShards(
  work: VolumeWork,
  survey: StripeSurvey,
  options: {
    readonly resolves: boolean
    readonly checkedUpToMs: number
    readonly onRefused: OnRefused
  },
  signal: AbortSignal,
): Promise<number> {
  const { good, bad, stripe, facts } = survey
  const { checkedUpToMs } = options
  let { resolves } = options
  if (facts.dirtyCount === 0) return 0
  const servers = holdersOf([...good, ...bad])
  const { runId } = stripe
  let resolvedCount = 0
  for await (const page of listDirty(work, signal)) {
    const deletes = page.filter(({ kind }) => kind === 'delete')
    const needleIds = deletes.map(({ needleId }) => needleId)
    for (const location of needleIds.length > 0 ? servers : []) {
      const here = { location, runId, needleIds }
      if (!(await tryJournal(work, here, options.onRefused, signal))) resolves = false
    }
    if (!resolves) continue
    const settled = page.filter(({ kind, recordedAtMs }) => {
      return kind !== 'check' || recordedAtMs <= checkedUpToMs
    })
    if (settled.length === 0) continue
    await work.context.jobs.resolveDirty(work.volumeId, settled, signal)
    resolvedCount += settled.length
  }
  return resolvedCount
}
