import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import { UploadBody } from '../../../src/gateway/files/upload-body.ts'
import type { WireStorePart } from '../../../src/net/wire-files.ts'
import { SimClock } from '../../support/sim-clock.ts'
import { expectCode, gather, settle } from '../../support/test-volume.ts'

const HEAD = { head: { user: '', name: 'n', contentType: '', sizeBytes: 4, isOverwrite: false } }
const SILENCE_MS = LIMITS.fileUploadSilenceMs.value

/** Messages that come when `send` says so. */
function slowMessages() {
  const waiting: ((message: IteratorResult<WireStorePart>) => void)[] = []
  const next = () => new Promise<IteratorResult<WireStorePart>>((resolve) => waiting.push(resolve))
  const send = (value: WireStorePart) => waiting.shift()?.({ value, done: false })
  return { messages: { [Symbol.asyncIterator]: () => ({ next }) }, send }
}

describe('an upload that falls silent', () => {
  test('before its head is TIMEOUT', async () => {
    const clock = new SimClock()
    const opening = expectCode(UploadBody.open({ clock }, slowMessages().messages), 'TIMEOUT')
    await clock.advance(SILENCE_MS)
    await opening
    expect(clock.timerCount).toBe(0)
  })

  test('half-way is TIMEOUT; one that only takes its time is not', async () => {
    const clock = new SimClock()
    const { messages, send } = slowMessages()
    const opening = UploadBody.open({ clock }, messages)
    await settle()
    send(HEAD)
    const body = await opening
    const reading = expectCode(gather(body), 'TIMEOUT')
    for (let piece = 0; piece < 3; piece++) {
      await clock.advance(SILENCE_MS - 1)
      send({ data: Buffer.from('x') })
      await settle()
    }
    expect(clock.timerCount).toBe(1)
    await clock.advance(SILENCE_MS)
    await reading
  })

  test('does not when its reader is slow', async () => {
    const clock = new SimClock()
    const body = await UploadBody.open({ clock }, some([HEAD, { data: Buffer.from('1234') }]))
    await clock.advance(10 * SILENCE_MS)
    expect((await gather(body)).toString()).toBe('1234')
  })

  async function* some(messages: readonly WireStorePart[]): AsyncGenerator<WireStorePart> {
    yield* messages
  }
})
