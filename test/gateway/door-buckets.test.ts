import { expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { DoorBuckets } from '../../src/gateway/door-buckets.ts'
import { BUCKET, FakeNamespace } from '../support/fake-namespace-api.ts'
import { PLAIN_USER } from '../support/fake-users-api.ts'

const never = new AbortController().signal
const users = { get: async () => PLAIN_USER }

test("a bucket that is not the root user's is not used", async () => {
  const namespace = new FakeNamespace()
  namespace.found = { ...BUCKET, ownerId: 'ef'.repeat(32) }
  const buckets = new DoorBuckets({ namespace, users })
  const got = buckets.get('files', never)
  await expect(got).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
  namespace.found = { ...BUCKET, id: 7 }
  expect(await buckets.get('files', never)).toEqual({ ...BUCKET, id: 7 })
})

test('a bucket that is there is used', async () => {
  const namespace = new FakeNamespace()
  expect(await new DoorBuckets({ namespace, users }).get('files', never)).toEqual(BUCKET)
  expect(namespace.calls).toEqual(['findBucket'])
})

test('one that is missing is made for the root user', async () => {
  const namespace = new FakeNamespace()
  namespace.found = undefined
  await new DoorBuckets({ namespace, users }).get('files', never)
  const made = { name: 'files', ownerId: PLAIN_USER.canonicalId, isLockEnabled: false }
  expect(namespace.requests[1]).toEqual({ ...made, documents: {} })
})

test('of two who make it at once both find it', async () => {
  const namespace = new FakeNamespace()
  namespace.found = undefined
  namespace.beforeCall = async (name) => {
    if (name !== 'createBucket') return
    namespace.found = BUCKET
    throw new StoreError('BUCKET_EXISTS', 'it is there')
  }
  expect(await new DoorBuckets({ namespace, users }).get('files', never)).toEqual(BUCKET)
})
