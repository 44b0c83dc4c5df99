import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { putOptions } from '../../src/gateway/stored-bytes.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { type Logger, silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { runCli } from '../support/cli-run.ts'
import { TestS3 } from '../support/test-s3.ts'

const SIGNAL = new AbortController().signal
/** Everything may be collected a second after it was seen. */
const OFTEN = { everyMs: 1000, minAgeMs: 0, minAgeFloorMs: 0, passGapMs: 500 }
const POLL = { timeout: 30_000, interval: 100 }

/** What a gateway leaves behind that dies between the last byte and the row. */
async function leaveOrphan(s3: TestS3): Promise<string> {
  const version = newVersionId(cryptoRandom, systemClock.nowMs())
  const owner = { bucket: 'bee', key: 'k', version }
  const options = putOptions(owner, 'STANDARD', undefined, SIGNAL)
  const { fileId } = await s3.server.client.put('an orphan', options)
  return fileId
}

describe('a server', () => {
  test('collects orphans by itself, counts and logs them, and ends at once', async () => {
    const events: (readonly [string, Record<string, unknown>])[] = []
    const note = (event: string, fields = {}): void => void events.push([event, fields])
    const logger: Logger = { ...silentLogger, info: note, warn: note }
    const s3 = await TestS3.open({ logger, s3Options: { orphans: OFTEN } })
    const { sdk } = s3.root
    await sdk.send(new CreateBucketCommand({ Bucket: 'bee' }))
    const fileId = await leaveOrphan(s3)
    await sdk.send(new PutObjectCommand({ Bucket: 'bee', Key: 'k', Body: 'alive' }))
    const isGone = async (): Promise<boolean> =>
      await s3.server.client.stat(fileId).then(
        () => false,
        () => true,
      )
    await expect.poll(isGone, POLL).toBe(true)
    const { Body } = await sdk.send(new GetObjectCommand({ Bucket: 'bee', Key: 'k' }))
    expect(await Body?.transformToString()).toBe('alive')
    const collectedIn = () =>
      events.find(([event, { collected }]) => event === 's3.orphans_pass' && collected === 1)?.[1]
    await expect.poll(collectedIn, POLL).toMatchObject({ found: 1, spared: 0, deletedBytes: 9 })
    const metrics = await (await fetch(`${s3.server.masterUrl}/metrics`)).text()
    expect(metrics).toContain('s3_orphan_needles{outcome="collected"} 1')
    expect(metrics).toContain('s3_orphan_collected_bytes 9')
    const startedMs = performance.now()
    await s3[Symbol.asyncDispose]()
    expect(performance.now() - startedMs).toBeLessThan(15_000)
  })

  test.each([
    ['off', { orphans: 'off' as const }],
    ['with its lifecycle', { runsLifecycle: false, orphans: OFTEN }],
  ])('collects none when that is switched off: %s', async (_, s3Options) => {
    await using s3 = await TestS3.open({ s3Options })
    const fileId = await leaveOrphan(s3)
    await systemClock.sleep(3000, SIGNAL)
    expect(await s3.server.client.stat(fileId)).toMatchObject({ sizeBytes: 9 })
    const metrics = await (await fetch(`${s3.server.masterUrl}/metrics`)).text()
    expect(metrics).not.toContain('s3_orphan_passes{')
  })
})

test.each(['59m', '15d', '0s', 'never', ''])('--s3-orphan-interval %s is refused', async (text) => {
  const args = ['server', '--dir', '/none', '--s3-orphan-interval', text]
  const { err, exitCode } = await runCli(args)
  expect([exitCode, err]).toEqual([2, expect.stringContaining('--s3-orphan-interval')])
})
