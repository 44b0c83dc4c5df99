import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { WriteGate } from '../../src/volume/write-gate.ts'
import { SimClock } from '../support/sim-clock.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'

function openGate() {
  const clock = new SimClock()
  const thawed: number[] = []
  const gate = new WriteGate({ clock }, (volumeId) => void thawed.push(volumeId))
  return { clock, gate, thawed }
}

/** How a promise ended, as soon as it has. */
function watched(promise: Promise<unknown> | undefined): { state: string } {
  const result = { state: promise === undefined ? 'none' : 'waiting' }
  promise?.then(
    () => {
      result.state = 'done'
    },
    (error: unknown) => {
      result.state = error instanceof StoreError ? error.code : String(error)
    },
  )
  return result
}

describe('WriteGate', () => {
  test('has nothing to wait for where nothing is frozen', async () => {
    const { gate } = openGate()
    expect(gate.wait(vid(3), SIGNAL)).toBeUndefined()
    await gate.freeze(vid(4), 1000)
    expect(gate.wait(vid(3), SIGNAL)).toBeUndefined()
    expect(gate.frozenCount).toBe(1)
  })

  test('lets those that wait go on in their order when it thaws, once the news is out', async () => {
    const { gate, thawed, clock } = openGate()
    await gate.freeze(vid(3), 5000)
    const order: string[] = []
    const waits = ['a', 'b', 'c'].map(async (name) => {
      await gate.wait(vid(3), SIGNAL)
      order.push(`${name} ${thawed}`)
    })
    await clock.advance(1000)
    expect(order).toEqual([])
    gate.thaw(vid(3))
    await Promise.all(waits)
    expect(order).toEqual(['a 3', 'b 3', 'c 3'])
    expect(gate.isFrozen(vid(3))).toBe(false)
    expect(clock.timerCount).toBe(0)
  })

  test('thaws by itself, ten seconds after it was frozen last at the latest', async () => {
    const { gate, clock } = openGate()
    await gate.freeze(vid(3), 2000)
    await clock.advance(1500)
    await gate.freeze(vid(3), 2000)
    await clock.advance(1500)
    expect(gate.isFrozen(vid(3))).toBe(true)
    await clock.advance(500)
    expect(gate.isFrozen(vid(3))).toBe(false)
    await gate.freeze(vid(3), 3_600_000)
    await clock.advance(10_000)
    expect(gate.isFrozen(vid(3))).toBe(false)
  })

  test('a write gives up after ten seconds, however often the time begins anew', async () => {
    const { gate, clock } = openGate()
    await gate.freeze(vid(3), 5000)
    const write = watched(gate.wait(vid(3), SIGNAL))
    const hasty = watched(gate.wait(vid(3), SIGNAL, 2000))
    for (let round = 0; round < 4; round++) {
      await clock.advance(2000)
      await gate.freeze(vid(3), 5000)
    }
    expect(hasty.state).toBe('VOLUME_BUSY')
    expect(write.state).toBe('waiting')
    await clock.advance(2000)
    expect(write.state).toBe('VOLUME_BUSY')
  })

  test('a write that is cancelled waits no longer', async () => {
    const { gate, clock } = openGate()
    await gate.freeze(vid(3), 5000)
    const stop = new AbortController()
    const write = watched(gate.wait(vid(3), stop.signal))
    stop.abort()
    await clock.advance(0)
    expect(write.state).toBe('CANCELLED')
    expect(watched(gate.wait(vid(3), stop.signal)).state).toBe('waiting')
    await expect(gate.wait(vid(3), stop.signal)).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  test('is frozen when those inside are out, not sooner', async () => {
    const { gate, clock } = openGate()
    gate.enter(vid(3))
    gate.enter(vid(3))
    gate.enter(vid(4))
    const freezing = watched(gate.freeze(vid(3), 5000))
    expect(gate.wait(vid(3), SIGNAL)).toBeDefined()
    gate.leave(vid(3))
    await clock.advance(100)
    expect(freezing.state).toBe('waiting')
    gate.leave(vid(3))
    await clock.advance(0)
    expect(freezing.state).toBe('done')
    gate.leave(vid(4))
  })

  test('fails with VOLUME_BUSY when those inside stay longer than it may be frozen', async () => {
    const { gate, clock } = openGate()
    gate.enter(vid(3))
    const freezing = watched(gate.freeze(vid(3), 1000))
    await clock.advance(1000)
    expect(freezing.state).toBe('VOLUME_BUSY')
    gate.leave(vid(3))
    await gate.freeze(vid(3), 1000)
  })

  test('refuses more writes than may wait', async () => {
    const { gate } = openGate()
    await gate.freeze(vid(3), 5000)
    const waits = Array.from({ length: 16_384 }, () => gate.wait(vid(3), SIGNAL))
    await expect(gate.wait(vid(3), SIGNAL)).rejects.toMatchObject({ code: 'OVERLOADED' })
    gate[Symbol.dispose]()
    await Promise.all(waits)
  })
})
