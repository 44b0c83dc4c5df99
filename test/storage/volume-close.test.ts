import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { MIB } from '../../src/base/units.ts'
import { decodeChecksumSidecar } from '../../src/format/checksum-sidecar.ts'
import { LargeNeedle } from '../../src/storage/needle-reader.ts'
import { Prng } from '../support/prng.ts'
import {
  cookieOf,
  expectCode,
  PATHS,
  SIGNAL,
  settle,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const prng = new Prng(1)

function watermarkOf(test: TestVolume): number {
  return decodeChecksumSidecar(test.file('sum')).watermarkBytes
}

describe('closing', () => {
  test('answers every write that was submitted, 3000 of them, and makes them durable', async () => {
    await using test = await TestVolume.create()
    const ids = Array.from({ length: 3000 }, (_, index) => index)
    const writes = Promise.all(ids.map((id) => test.put(id, `needle ${id}`)))
    await test.close()
    await writes
    test.disk.restart()
    await test.open()
    expect(test.volume.stats.liveNeedles).toBe(3000)
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 0, cutBytes: 0 })
  })

  test('twice, at once or one after the other, is harmless', async () => {
    await using test = await TestVolume.create()
    const { volume } = test
    await test.put(1, 'one')
    await Promise.all([volume[Symbol.asyncDispose](), volume[Symbol.asyncDispose]()])
    await volume[Symbol.asyncDispose]()
    expect(volume.state).toBe('closed')
  })

  test('leaves every later call CLOSED', async () => {
    await using test = await TestVolume.create()
    const { volume } = test
    const request = { id: toId(1), cookie: cookieOf(1) }
    await test.put(1, 'one')
    const closing = test.close()
    async function* source() {
      yield Buffer.from('x')
    }
    const put = { ...request, data: Buffer.from('x'), attributes: {} }
    await expectCode(volume.put(put, SIGNAL), 'CLOSED')
    await closing
    await expectCode(volume.put(put, SIGNAL), 'CLOSED')
    await expectCode(volume.putStream(put, source(), SIGNAL), 'CLOSED')
    await expectCode(volume.delete(request, SIGNAL), 'CLOSED')
    await expectCode(volume.read(request), 'CLOSED')
    await expectCode(volume.readRange(request, { start: 0, end: 1 }, SIGNAL).next(), 'CLOSED')
    await expectCode(volume.seal(), 'CLOSED')
    await expectCode(volume.vacuum({}, SIGNAL), 'CLOSED')
    await expectCode(volume.checkpoint(), 'CLOSED')
    expect(() => volume.readWarm(request)).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })

  test('waits for a large needle that is being read', async () => {
    await using test = await TestVolume.create()
    await test.put(1, prng.bytes(9 * MIB))
    const found = await test.volume.read({ id: toId(1), cookie: cookieOf(1) })
    if (!(found instanceof LargeNeedle)) throw new Error('9 MiB are not large')
    let isClosed = false
    const closing = test.close().then(() => {
      isClosed = true
    })
    await settle()
    expect(isClosed).toBe(false)
    let bytes = 0
    for await (const piece of found.read(SIGNAL)) bytes += piece.length
    found[Symbol.dispose]()
    await closing
    expect(bytes).toBe(9 * MIB)
  })

  test('while sealing or at a checkpoint ends both in order', async () => {
    for (const work of ['seal', 'checkpoint'] as const) {
      for (let turns = 0; turns < 12; turns++) {
        await using test = await TestVolume.create({ seed: turns })
        await test.put(1, 'one')
        const working = test.volume[work]()
        for (let turn = 0; turn < turns; turn++) await undefined
        await test.close()
        await working
        await test.open()
        expect(test.volume.state).toBe(work === 'seal' ? 'sealed' : 'writable')
        await test.expectNeedles(new Map([[1, 'one']]))
      }
    }
  })

  test('on a disk that fails its checkpoint still closes; the next start scans', async () => {
    for (let call = 1; call <= 8; call++) {
      await using test = await TestVolume.create()
      await test.put(1, 'one')
      test.disk.failCall(call, 'EIO')
      await test.close()
      expect(test.disk.openFiles).toBe(0)
      test.disk.restart()
      await test.open()
      await test.expectNeedles(new Map([[1, 'one']]))
    }
  })
})

describe('checkpoints', () => {
  test(`come ${LIMITS.checkpointMs.value} ms after an append, once`, async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.put(2, 'two')
    await test.clock.advance(LIMITS.checkpointMs.value - 1)
    expect(watermarkOf(test)).toBe(8)
    await test.clock.advance(1)
    await settle()
    const { datBytes } = test.volume.stats
    const sidecar = decodeChecksumSidecar(test.file('sum'))
    expect(sidecar).toMatchObject({ watermarkBytes: datBytes, idxBytes: 32, isClean: false })
    const renames = test.hooks.count('rename')
    await test.clock.advance(10 * LIMITS.checkpointMs.value)
    await settle()
    expect(test.hooks.count('rename')).toBe(renames)
    await test.killAndOpen()
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 0, indexRebuilt: undefined })
  })

  test('come after 64 MiB of appends without waiting for the clock', async () => {
    await using test = await TestVolume.create()
    const data = prng.bytes(7 * MIB)
    for (let id = 1; id <= 9; id++) await test.put(id, data)
    await settle()
    expect(watermarkOf(test)).toBe(8)
    await test.put(10, data)
    await settle(100)
    expect(watermarkOf(test)).toBe(test.volume.stats.datBytes)
  })

  test('that fail are tried again after the next append; the old .sum stays valid', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.volume.checkpoint()
    await test.put(2, 'two')
    test.disk.failCall(1, 'ENOSPC', ['create'])
    await test.clock.advance(LIMITS.checkpointMs.value)
    await settle()
    await test.put(3, 'three')
    await test.clock.advance(LIMITS.checkpointMs.value)
    await settle()
    await test.killAndOpen()
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 0, indexRebuilt: undefined })
    await test.expectNeedles(
      new Map([
        [1, 'one'],
        [2, 'two'],
        [3, 'three'],
      ]),
    )
  })

  test('leave no timer behind when the volume is closed', async () => {
    await using test = await TestVolume.create({ durability: { mode: 'interval', intervalMs: 50 } })
    await test.put(1, 'one')
    expect(test.clock.timerCount).toBe(2)
    await test.close()
    expect(test.clock.timerCount).toBe(0)
  })

  test('under load hold up no needle: 200 checkpoints beside 2000 puts', async () => {
    await using test = await TestVolume.create()
    const needles = new Map<number, string>()
    for (let round = 0; round < 200; round++) {
      const ids = Array.from({ length: 10 }, (_, index) => (round * 7 + index) % 300)
      const checkpoint = test.volume.checkpoint()
      await Promise.all(ids.map((id) => test.put(id, `round ${round}`)))
      await checkpoint
      for (const id of ids) needles.set(id, `round ${round}`)
    }
    await test.killAndOpen()
    await test.expectNeedles(needles)
  })
})

describe('a sealed volume', () => {
  test('takes deletes but no puts, survives a power cut at once, and sealing twice is harmless', async () => {
    await using test = await TestVolume.create()
    for (let id = 1; id <= 100; id++) await test.put(id, `needle ${id}`)
    await test.volume.seal()
    await test.volume.seal()
    test.disk.restart()
    await test.open()
    expect(test.volume.state).toBe('sealed')
    expect(test.volume.recovery).toMatchObject({ tailNeedles: 0, indexRebuilt: undefined })
    await expectCode(test.put(1, 'x'), 'VOLUME_SEALED')
    expect(await test.delete(1)).toMatchObject({ wasLive: true })
    await test.reopen()
    expect(test.volume.stats.liveNeedles).toBe(99)
    expect(await test.read(1)).toBeUndefined()
    expect((await test.read(2))?.toString()).toBe('needle 2')
  })

  test('stays sealed when its .vif is lost: the .sum, which has a checksum, says so too', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'x')
    await test.volume.seal()
    await test.close()
    await test.disk.unlink(PATHS.vif)
    await test.open()
    expect(test.volume.state).toBe('sealed')
    await expectCode(test.put(2, 'y'), 'VOLUME_SEALED')
  })

  test('refuses puts that waited while it was sealed, or took them before: none is in between', async () => {
    for (let turns = 0; turns < 12; turns++) {
      await using test = await TestVolume.create({ seed: turns })
      const sealing = test.volume.seal()
      for (let turn = 0; turn < turns; turn++) await undefined
      const outcomes = await Promise.allSettled([1, 2, 3].map((id) => test.put(id, 'x')))
      await sealing
      const taken = outcomes.filter(({ status }) => status === 'fulfilled').length
      expect(test.volume.stats.liveNeedles).toBe(taken)
      await test.reopen()
      expect(test.volume.stats.liveNeedles).toBe(taken)
    }
  })

  test('keeps what its .vif said beside', async () => {
    await using test = await TestVolume.create()
    test.disk.put(PATHS.vif, Buffer.from('{"replication":"001","futureField":{"a":1}}'))
    await test.reopen()
    await test.volume.seal()
    const vif = JSON.parse(test.file('vif').toString())
    expect(vif).toMatchObject({ replication: '001', futureField: { a: 1 }, readOnly: true })
  })
})
