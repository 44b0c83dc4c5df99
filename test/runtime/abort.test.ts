import { expect, test } from 'vitest'
import { cancelledError, onAbort } from '../../src/runtime/abort.ts'

test('everyone waiting runs once, in order; who was disposed does not', () => {
  const abort = new AbortController()
  const ran: string[] = []
  onAbort(abort.signal, () => ran.push('a'))
  const gone = onAbort(abort.signal, () => ran.push('gone'))
  onAbort(abort.signal, () => ran.push('b'))
  gone[Symbol.dispose]()
  abort.abort()
  expect(ran).toEqual(['a', 'b'])
})

test('one that runs may dispose of another', () => {
  const abort = new AbortController()
  const ran: string[] = []
  onAbort(abort.signal, () => {
    ran.push('first')
    second[Symbol.dispose]()
  })
  const second = onAbort(abort.signal, () => ran.push('second'))
  abort.abort()
  expect(ran).toEqual(['first'])
})

test('the error carries the reason of the abort', () => {
  expect(cancelledError(AbortSignal.abort('client left'), 'while waiting')).toMatchObject({
    code: 'CANCELLED',
    message: 'cancelled while waiting',
    cause: 'client left',
  })
})
