import { describe, expect, test, vi } from 'vitest'
import { Prng } from '../support/prng.ts'
import { ALL_FAULTS, Copies } from './copies.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

/** What one needle may be in any copy, as far as its clients know. */
interface Known {
  /** Acknowledged last: a text, or that it is gone. */
  acked: string | undefined
  /** Left by tries that failed since. */
  readonly possible: Set<string>
  mayBeGone: boolean
}

describe('whatever goes wrong with writes', () => {
  test.each(Array.from({ length: 20 }, (_, seed) => seed + 1))(
    'nothing acknowledged is lost, and nothing deleted is live unrecorded (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      await using copies = await Copies.open(3)
      const model = new Map<number, Known>()
      let broken = 0
      for (let step = 0; step < 30; step++) {
        if (prng.below(3) === 0) {
          if (broken > 0) copies.mend(broken)
          broken = prng.below(4)
          const fault = ALL_FAULTS[prng.below(ALL_FAULTS.length)] ?? 'down'
          if (broken > 0) copies.break(broken, fault)
        }
        copies.setMasterAway(prng.below(4) === 0)
        const needle = 1 + prng.below(5)
        const known = model.get(needle) ?? {
          acked: undefined,
          possible: new Set(),
          mayBeGone: true,
        }
        model.set(needle, known)
        const through = copies.at(1 + prng.below(3))
        const isPut = prng.below(3) > 0
        const text = `step ${step}`
        const { code } = isPut
          ? await copies.settle(through.put(3, needle, text))
          : await copies.settle<unknown>(through.delete(3, needle))
        if (code === 'done') {
          known.acked = isPut ? text : undefined
          known.possible.clear()
          known.mayBeGone = !isPut
        } else if (isPut) known.possible.add(text)
        else known.mayBeGone = true
        await checkCopies(copies, model)
      }
      copies.setMasterAway(false)
      await copies.cluster.clock.advance(60_000)
    },
    60_000,
  )
})

async function checkCopies(copies: Copies, model: ReadonlyMap<number, Known>): Promise<void> {
  const deletes = new Set(
    copies.dirty.filter(({ kind }) => kind === 'delete').map(({ needle }) => needle),
  )
  for (const [needle, { acked, possible, mayBeGone }] of model) {
    for (const port of [1, 2, 3]) {
      const text = await copies.textAt(port, needle)
      const about = `needle ${needle} at ${port}: ${text}, acknowledged ${acked}`
      if (text === 'NEEDLE_NOT_FOUND') expect(mayBeGone, about).toBe(true)
      else if (acked === undefined)
        expect(possible.has(text) || deletes.has(needle), about).toBe(true)
      else expect(text === acked || possible.has(text), about).toBe(true)
    }
  }
}
