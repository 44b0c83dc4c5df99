import { expect, test } from 'vitest'
import {
  encodeEventKey,
  writeEventMessage,
} from '../../../../src/gateway/s3/events/event-message.ts'
import { EVENT } from '../../../support/fake-namespace-api.ts'

test('an event is one record as S3 sends it', () => {
  expect(JSON.parse(writeEventMessage(EVENT, 'eu-west-1'))).toEqual({
    Records: [
      {
        eventVersion: '2.1',
        eventSource: 'aws:s3',
        awsRegion: 'eu-west-1',
        eventTime: '2039-09-07T15:47:35.552Z',
        eventName: 'ObjectCreated:Put',
        userIdentity: { principalId: 'cd'.repeat(32) },
        requestParameters: { sourceIPAddress: '::1' },
        responseElements: { 'x-amz-request-id': '0123456789ABCDEF' },
        s3: {
          s3SchemaVersion: '1.0',
          configurationId: 'c',
          bucket: {
            name: 'photos',
            ownerIdentity: { principalId: 'ab'.repeat(32) },
            arn: 'arn:aws:s3:::photos',
          },
          object: {
            key: 'a/%C3%BC',
            size: 2 ** 43,
            eTag: `${'0123456789abcdef'.repeat(2)}-2`,
            versionId: 'null',
            sequencer: '0123456789ABCD',
          },
        },
      },
    ],
  })
})

test('of what is gone there is neither size nor ETag, nor a version where there are none', () => {
  const gone = { ...EVENT, etag: undefined, sizeBytes: undefined, versionId: undefined }
  const { Records } = JSON.parse(writeEventMessage(gone, 'r'))
  expect(Object.keys(Records[0].s3.object)).toEqual(['key', 'sequencer'])
})

test('a transition tells where to', () => {
  const { Records } = JSON.parse(writeEventMessage({ ...EVENT, storageClass: 'STANDARD_IA' }, 'r'))
  expect(Records[0].lifecycleEventData).toEqual({
    transitionEventData: { destinationStorageClass: 'STANDARD_IA' },
  })
})

test.each([
  ['a/b', 'a/b'],
  ['red flower.jpg', 'red+flower.jpg'],
  ['a+b', 'a%2Bb'],
  ['a%20b', 'a%2520b'],
  ['ü', '%C3%BC'],
  ["!'()*~", '%21%27%28%29*%7E'],
  ['a&b=c?d#e', 'a%26b%3Dc%3Fd%23e'],
])('the key %s is sent as %s', (key, sent) => {
  expect(encodeEventKey(key)).toBe(sent)
  // Whoever reads a form reads the key.
  expect(new URLSearchParams(`key=${sent}`).get('key')).toBe(key)
})
