import { expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { pinoLogger, silentLogger } from '../../src/runtime/logger.ts'

test('one line of JSON per event: level, time, fields, event', () => {
  const lines: string[] = []
  const logger = pinoLogger('info', { write: (line) => lines.push(line) })
  logger.debug('too.quiet')
  logger.info('volume.opened')
  logger.warn('volume.torn_tail', { volumeId: 7, cutBytes: 40 })
  const [opened, torn, ...rest] = lines.map((line) => JSON.parse(line))
  expect(rest).toEqual([])
  expect(opened).toEqual({ level: 'info', time: expect.any(String), event: 'volume.opened' })
  expect(new Date(torn.time).toISOString()).toBe(torn.time)
  expect(torn).toMatchObject({
    level: 'warn',
    event: 'volume.torn_tail',
    volumeId: 7,
    cutBytes: 40,
  })
})

test('an error field shows its code and its cause', () => {
  const lines: string[] = []
  const logger = pinoLogger('error', { write: (line) => lines.push(line) })
  const cause = Object.assign(new Error('i/o error'), { code: 'EIO' })
  logger.error('volume.sync_failed', { error: new StoreError('DISK_FAILED', 'sync', { cause }) })
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    error: { code: 'DISK_FAILED', message: 'sync', cause: { code: 'EIO', message: 'i/o error' } },
  })
})

test('the silent logger takes everything and says nothing', () => {
  for (const level of ['debug', 'info', 'warn', 'error'] as const)
    silentLogger[level]('x', { y: 1 })
})
