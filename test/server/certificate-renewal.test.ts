import { expect, test } from 'vitest'
import type { ServerCertificate } from '../../src/net/tls.ts'
import type { Logger } from '../../src/runtime/logger.ts'
import { CertificateRenewal } from '../../src/server/certificate-renewal.ts'
import { SimClock } from '../support/sim-clock.ts'

const MINUTE_MS = 60_000

function certificate(text: string): ServerCertificate {
  return { cert: Buffer.from(`certificate ${text}`), key: Buffer.from(`key ${text}`) }
}

function openRenewal() {
  const clock = new SimClock()
  const events: string[] = []
  const log = (event: string) => events.push(event)
  const logger: Logger = { debug: log, info: log, warn: log, error: log }
  const used: string[] = []
  const disk = { found: certificate('1') as ServerCertificate | Error }
  const source = {
    read: async () => {
      if (disk.found instanceof Error) throw disk.found
      return disk.found
    },
  }
  const use = ({ cert }: ServerCertificate): void => {
    if (cert.includes('broken')) throw new Error('cannot be used')
    used.push(cert.toString())
  }
  const renewal = new CertificateRenewal({ clock, logger, source, use }, certificate('1'))
  renewal.start()
  return { clock, disk, events, renewal, used }
}

test('a renewed certificate is used within a minute, once', async () => {
  const { clock, disk, events, renewal, used } = openRenewal()
  using _renewal = renewal
  await clock.advance(3 * MINUTE_MS)
  expect(used).toEqual([])
  disk.found = certificate('2')
  await clock.advance(MINUTE_MS)
  expect(used).toEqual(['certificate 2'])
  await clock.advance(3 * MINUTE_MS)
  expect([used.length, events]).toEqual([1, ['s3.certificate_renewed']])
})

test('a new key for the same certificate counts too', async () => {
  const { clock, disk, renewal, used } = openRenewal()
  using _renewal = renewal
  disk.found = { ...certificate('1'), key: Buffer.from('another key') }
  await clock.advance(MINUTE_MS)
  expect(used).toEqual(['certificate 1'])
})

test.each([
  ['cannot be read', new Error('gone')],
  ['is of no use', certificate('broken')],
])('while the new one %s the one before stays, and that is said once', async (_what, found) => {
  const { clock, disk, events, renewal, used } = openRenewal()
  using _renewal = renewal
  disk.found = found
  await clock.advance(5 * MINUTE_MS)
  expect([used, events]).toEqual([[], ['s3.certificate_kept']])
  disk.found = certificate('2')
  await clock.advance(MINUTE_MS)
  expect(used).toEqual(['certificate 2'])
  expect(events).toEqual(['s3.certificate_kept', 's3.certificate_renewed'])
})

test('nothing is looked at any more once it is disposed of', async () => {
  const { clock, disk, renewal, used } = openRenewal()
  renewal[Symbol.dispose]()
  disk.found = certificate('2')
  await clock.advance(5 * MINUTE_MS)
  expect([used, clock.timerCount]).toEqual([[], 0])
})
