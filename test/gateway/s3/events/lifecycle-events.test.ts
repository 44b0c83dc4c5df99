import { expect, test } from 'vitest'
import { DAY, expiring, LifecycleScene, moving, NEVER } from '../lifecycle-scene.ts'

const target = 'arn:hayloft:sqs::hook:webhook'
const events = ['s3:LifecycleTransition', 's3:LifecycleExpiration:*']
const notification = JSON.stringify([{ id: 'c', arn: target, events, prefix: '', suffix: '' }])

test.each([
  ['a transition', [moving(1, 'STANDARD_IA')], 'LifecycleTransition', 'STANDARD_IA'],
  ['an expiry', [expiring(1)], 'LifecycleExpiration:Delete', undefined],
])('%s is told once, as done by the service', async (_, rules, name, storageClass) => {
  const scene = new LifecycleScene()
  const bucket = await scene.bucket('told', rules, { documents: { notification } })
  const silent = await scene.bucket('silent', rules)
  for (const each of [bucket, silent]) await scene.put(each, 'a')
  await scene.clock.advance(3 * DAY)
  await scene.pass()
  await scene.pass()
  const lane = { target, bucketId: bucket.id }
  const found = await scene.namespace.listEvents({ lane, limit: 10 }, NEVER)
  const requesterId = 's3.amazonaws.com'
  const cause = { requesterId, sourceAddress: requesterId }
  expect(found).toMatchObject([{ key: 'a', name, storageClass, bucketName: 'told', ...cause }])
  expect(found[0]?.requestId).toMatch(/^[0-9A-F]{16}$/)
  expect(scene.namespace.eventCounts.pending).toBe(1)
})
