import { describe, expect, test } from 'vitest'
import { parseDateTime, readRequestTime } from '../../../../src/gateway/s3/auth/request-time.ts'
import { RequestHeaders } from '../../../../src/gateway/s3/s3-request.ts'

const NOW_MS = Date.parse('2024-02-29T12:00:00Z')

function read(headers: Readonly<Record<string, string>>, nowMs = NOW_MS) {
  return readRequestTime(new RequestHeaders(Object.entries(headers).flat()), nowMs)
}

describe('a date and time', () => {
  test.each([
    ['19700101T000000Z', 0],
    ['20240229T235959Z', Date.parse('2024-02-29T23:59:59Z')],
    ['99991231T235959Z', Date.parse('9999-12-31T23:59:59Z')],
  ])('%s is %d', (text, atMs) => {
    expect(parseDateTime(text)).toEqual({ atMs, dateTime: text })
  })

  test.each([
    '',
    '20240229',
    '20240229T120000',
    '20240229T120000z',
    '2024-02-29T12:00:00Z',
    ' 20240229T120000Z',
    '20240229T120000Z\n',
    '20230229T120000Z',
    '20240230T120000Z',
    '20240001T120000Z',
    '20241301T120000Z',
    '20240100T120000Z',
    '20240229T240000Z',
    '20240229T126000Z',
    '20240229T120060Z',
    '19691231T235959Z',
    '19500707T215304Z',
  ])('%j is none', (text) => {
    expect(parseDateTime(text)).toBeUndefined()
  })
})

describe('the time of a request', () => {
  const dateTime = '20240229T120000Z'

  test.each([
    [{ 'X-Amz-Date': dateTime }],
    [{ Date: 'Thu, 29 Feb 2024 12:00:00 GMT' }],
    [{ Date: 'Thu, 29 Feb 2024 12:00:00 +0000' }],
    [{ Date: 'Thu, 29 Feb 2024 13:00:00 +0100' }],
    [{ Date: dateTime }],
    [{ 'X-Amz-Date': 'Thu, 29 Feb 2024 12:00:00 GMT' }],
    [{ 'X-Amz-Date': dateTime, Date: 'Bad Date' }],
    [{ 'X-Amz-Date': dateTime, Date: 'Tue, 07 Jul 1950 21:53:04 GMT' }],
  ])('is read from %j', (headers) => {
    expect(read(headers)).toEqual({ atMs: NOW_MS, dateTime })
  })

  test.each([
    [{}],
    [{ 'X-Amz-Date': '' }],
    [{ 'X-Amz-Date': '', Date: 'Thu, 29 Feb 2024 12:00:00 GMT' }],
    [{ 'X-Amz-Date': 'Bad Date' }],
    [{ Date: 'Tue, 07 Jul 1950 21:53:04 GMT' }],
    [{ Date: '2024-02-29' }],
    [{ Date: '1709208000' }],
  ])('cannot be read from %j: AccessDenied', (headers) => {
    expect(() => read(headers)).toThrow(expect.objectContaining({ code: 'AccessDenied' }))
  })

  test.each([-900_000, -1, 0, 1, 900_000])('may be %d ms from ours', (skewMs) => {
    expect(read({ 'X-Amz-Date': dateTime }, NOW_MS + skewMs).dateTime).toBe(dateTime)
  })

  test.each([-900_001, 900_001])('may not be %d ms from ours: RequestTimeTooSkewed', (skewMs) => {
    expect(() => read({ 'X-Amz-Date': dateTime }, NOW_MS + skewMs)).toThrow(
      expect.objectContaining({
        code: 'RequestTimeTooSkewed',
        fields: {
          RequestTime: dateTime,
          ServerTime: new Date(NOW_MS + skewMs).toISOString(),
          MaxAllowedSkewMilliseconds: '900000',
        },
      }),
    )
  })
})
