import { expect, test } from 'vitest'
import { storedContentEncoding } from '../../../../src/gateway/s3/body/content-encoding.ts'

test.each([
  [undefined, undefined],
  ['', undefined],
  ['gzip', 'gzip'],
  ['aws-chunked', undefined],
  ['AWS-Chunked', undefined],
  ['gzip, aws-chunked', 'gzip'],
  ['gzip,aws-chunked', 'gzip'],
  ['aws-chunked,gzip', 'gzip'],
  ['aws-chunked, gzip', 'gzip'],
  ['aws-chunked,aws-chunked', undefined],
  ['aws-chunked,', undefined],
  ['deflate, aws-chunked, gzip', 'deflate, gzip'],
  ['deflate, gzip', 'deflate, gzip'],
  ['aws-chunked-2', 'aws-chunked-2'],
  ['x-aws-chunked', 'x-aws-chunked'],
])('of the Content-Encoding %o the object keeps %o', (sent, stored) => {
  expect(storedContentEncoding(sent)).toBe(stored)
})
