import type { VolumeFacts } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { VolumeAssessment } from './assess.ts'
import { assessVolume } from './assess-volume.ts'
import type { ErasurePolicy } from './erasure-policy.ts'
import type { RepairView } from './repair-view.ts'

export interface SurveyorParts {
  readonly view: RepairView
  readonly clock: Clock
  /** Undefined: no volume is coded unless somebody asks for it. */
  readonly policy?: Pick<ErasurePolicy, 'encodeOf'> | undefined
}

export interface SurveyorOptions {
  readonly garbageThreshold: number
  /** Of ids that were given out. */
  readonly leaseMs: number
}

/** All volumes, as of one moment or a few turns of the event loop. */
export interface ClusterSurvey {
  readonly isMassGone: boolean
  readonly facts: readonly VolumeFacts[]
  /** In the same order. */
  readonly assessments: readonly VolumeAssessment[]
}

/** Volumes looked at before others get a turn: less than a millisecond. */
const VOLUMES_PER_TURN = 500

/** Looks at every volume there is; several who ask at the same time share a look. */
export class Surveyor {
  readonly #parts: SurveyorParts
  readonly #options: SurveyorOptions
  #latest: ClusterSurvey = { isMassGone: false, facts: [], assessments: [] }
  #running: Promise<ClusterSurvey> | undefined

  constructor(parts: SurveyorParts, options: SurveyorOptions) {
    this.#parts = parts
    this.#options = options
  }

  /** The last one taken; empty before the first. */
  get latest(): ClusterSurvey {
    return this.#latest
  }

  async take(): Promise<ClusterSurvey> {
    this.#running ??= this.#survey().finally(() => {
      this.#running = undefined
    })
    return await this.#running
  }

  async #survey(): Promise<ClusterSurvey> {
    const { view, clock, policy } = this.#parts
    const isMassGone = view.isMassGone()
    const options = { ...this.#options, nowMs: clock.nowMs(), isMassAway: isMassGone }
    const facts: VolumeFacts[] = []
    const assessments: VolumeAssessment[] = []
    for (const each of view.allFacts()) {
      facts.push(each)
      assessments.push(assessVolume(each, options, policy))
      if (facts.length % VOLUMES_PER_TURN === 0) await yieldTurn()
    }
    this.#latest = { isMassGone, facts, assessments }
    return this.#latest
  }
}
