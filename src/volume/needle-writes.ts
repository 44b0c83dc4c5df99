import type { FileId } from '../base/file-id.ts'

/** One write under way. */
export interface NeedleWrite extends Disposable {
  /** Another write of the same needle was under way at some moment meanwhile. */
  readonly isContested: boolean
}

interface UnderWay {
  count: number
  isContested: boolean
}

/** Writes under way by needle, so that none takes back what another one has stored. */
export class NeedleWrites {
  readonly #underWay = new Map<string, UnderWay>()

  begin({ volumeId, needleId }: Pick<FileId, 'volumeId' | 'needleId'>): NeedleWrite {
    const key = `${volumeId},${needleId.hi},${needleId.lo}`
    const state = this.#underWay.get(key) ?? { count: 0, isContested: false }
    if (state.count++ === 0) this.#underWay.set(key, state)
    else state.isContested = true
    return {
      get isContested() {
        return state.isContested
      },
      [Symbol.dispose]: () => {
        if (--state.count === 0) this.#underWay.delete(key)
      },
    }
  }
}
