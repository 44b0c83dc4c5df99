import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { AbortScope, orAborted } from '../../src/runtime/abort-scope.ts'
import { SharedRuns } from '../../src/runtime/shared-runs.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

/** Runs that end when a test says so. */
class Runs {
  readonly shared = new SharedRuns<string>()
  readonly signals: AbortSignal[] = []
  answer: (value: string) => void = () => undefined
  fail: (error: unknown) => void = () => undefined

  join(signal: AbortSignal = SIGNAL, key = 'a'): Promise<string> {
    const joined = this.shared.join(
      key,
      (ending) => {
        this.signals.push(ending)
        return new Promise((resolve, reject) => {
          this.answer = resolve
          this.fail = reject
        })
      },
      signal,
    )
    joined.catch(() => 'it is awaited by the test')
    return joined
  }
}

describe('work that many want', () => {
  test('is done once, and again for those who come later', async () => {
    const runs = new Runs()
    const all = [runs.join(), runs.join(), runs.join()]
    runs.answer('done')
    expect(await Promise.all(all)).toEqual(['done', 'done', 'done'])
    expect([runs.signals.length, runs.shared.count]).toEqual([1, 0])
    const again = runs.join()
    runs.answer('again')
    expect(await again).toBe('again')
  })

  test('is not that of another name', async () => {
    const runs = new Runs()
    void runs.join()
    void runs.join(SIGNAL, 'b')
    expect(runs.signals).toHaveLength(2)
  })

  test('fails for all of them', async () => {
    const runs = new Runs()
    const all = [runs.join(), runs.join()]
    runs.fail(new StoreError('UNAVAILABLE', 'down'))
    for (const each of all) await expectCode(each, 'UNAVAILABLE')
    expect(runs.shared.count).toBe(0)
  })

  test('goes on while one waits, and is aborted when the last has gone', async () => {
    const runs = new Runs()
    const endings = [new AbortController(), new AbortController()] as const
    const all = endings.map(({ signal }) => runs.join(signal))
    endings[0].abort()
    await settle()
    expect(runs.signals[0]?.aborted).toBe(false)
    endings[1].abort()
    for (const each of all) await expectCode(each, 'CANCELLED')
    expect(runs.signals[0]?.aborted).toBe(true)
    // It may not have ended yet; who comes now gets a new one.
    const later = runs.join()
    runs.answer('new')
    expect(await later).toBe('new')
    expect(runs.signals).toHaveLength(2)
  })
})

describe('a part of some work', () => {
  test('ends with the whole, or before it', () => {
    const whole = new AbortController()
    const first = new AbortScope(whole.signal)
    const second = new AbortScope(whole.signal)
    first[Symbol.dispose]()
    expect([first.signal.aborted, second.signal.aborted]).toEqual([true, false])
    whole.abort('why')
    expect([second.signal.aborted, second.signal.reason]).toEqual([true, 'why'])
    expect(new AbortScope(whole.signal).signal.reason).toBe('why')
    second[Symbol.dispose]()
  })

  test('that does not heed its signal is not waited for', async () => {
    const ending = new AbortController()
    const deaf = new Promise<never>((_, reject) => setImmediate(() => reject(new Error('late'))))
    const waiting = orAborted(deaf, ending.signal, 'while testing')
    ending.abort()
    await expectCode(waiting, 'CANCELLED')
    await settle()
    await expectCode(orAborted(Promise.resolve(1), ending.signal, 'before'), 'CANCELLED')
    expect(await orAborted(Promise.resolve(1), SIGNAL, 'never')).toBe(1)
  })
})
