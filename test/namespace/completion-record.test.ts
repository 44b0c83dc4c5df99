import { expect, test } from 'vitest'
import {
  COMPLETION_RECORD_BYTES_MAX,
  decodeCompletionRecord,
  encodeCompletionRecord,
} from '../../src/namespace/completion-record.ts'

const PART = {
  partNumber: 1,
  fileId: '3,01637037d6',
  sizeBytes: 5 * 2 ** 20,
  md5: '0'.repeat(32),
  checksum: 'AAAA',
}

test.each([0, 1, 2, 10_000])('a record of %d parts is read as it was written', (count) => {
  const parts = Array.from({ length: count }, (_item, index) => {
    return { ...PART, partNumber: index + 1, checksum: index % 2 === 0 ? 'AAAA' : undefined }
  })
  expect(decodeCompletionRecord(encodeCompletionRecord(parts))).toEqual(parts)
})

test('the longest record there may be is within what a reader takes', () => {
  const longest = {
    partNumber: 10_000,
    fileId: `4294967295,${'f'.repeat(24)}`,
    sizeBytes: 5 * 2 ** 30,
    md5: 'f'.repeat(32),
    checksum: 'A'.repeat(44),
  }
  const record = encodeCompletionRecord(Array.from({ length: 10_000 }, () => longest))
  expect(record.length).toBeLessThan(COMPLETION_RECORD_BYTES_MAX)
})

test.each([
  '',
  '[]',
  'null',
  '{"v":2,"parts":[]}',
  '{"v":1}',
  '{"v":1,"parts":[1]}',
  '{"v":1,"parts":[{"number":0,"file":"3,01637037d6","size":1,"md5":""}]}',
  '{"v":1,"parts":[{"number":1,"file":"3","size":1,"md5":""}]}',
  '{"v":1,"parts":[{"number":1,"file":"3,01637037d6","size":-1,"md5":""}]}',
])('what is no record is METADATA_CORRUPT: %s', (text) => {
  expect(() => decodeCompletionRecord(Buffer.from(text))).toThrow(
    expect.objectContaining({ code: 'METADATA_CORRUPT' }),
  )
})
