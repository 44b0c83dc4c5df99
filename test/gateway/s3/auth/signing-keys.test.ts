import { describe, expect, test } from 'vitest'
import { checkScope, parseCredential } from '../../../../src/gateway/s3/auth/credential.ts'
import { isSameSignature, signingKey } from '../../../../src/gateway/s3/auth/signing-keys.ts'
import { EXAMPLE_KEY, OTHER_KEY } from '../../../support/s3-signing.ts'

function scope(accessKeyId: string, date: string, region: string) {
  const credential = `${accessKeyId}/${date}/${region}/s3/aws4_request`
  return parseCredential(credential, 'AuthorizationHeaderMalformed')
}

describe('a signing key', () => {
  test('is the one of the published example', () => {
    const derived = signingKey(EXAMPLE_KEY, scope('AKIAIOSFODNN7EXAMPLE', '20130524', 'us-east-1'))
    expect(derived.toString('hex')).toBe(
      'dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378',
    )
  })

  test('is another for another secret under the same id, date and region, and stays so', () => {
    const { accessKeyId } = EXAMPLE_KEY
    const one = scope(accessKeyId, '20130524', 'us-east-1')
    const before = signingKey(EXAMPLE_KEY, one)
    const replaced = signingKey({ ...EXAMPLE_KEY, secret: OTHER_KEY.secret }, one)
    expect(replaced.equals(before)).toBe(false)
    expect(signingKey(EXAMPLE_KEY, one).equals(before)).toBe(true)
  })

  test('is another for each day and each region', () => {
    const { accessKeyId } = EXAMPLE_KEY
    const keys = [
      scope(accessKeyId, '20130524', 'us-east-1'),
      scope(accessKeyId, '20130525', 'us-east-1'),
      scope(accessKeyId, '20130524', 'eu-west-1'),
    ].map((each) => signingKey(EXAMPLE_KEY, each).toString('hex'))
    expect(new Set(keys).size).toBe(3)
  })
})

describe('two signatures', () => {
  test.each([
    ['abc', 'abc', true],
    ['', '', true],
    ['abc', 'abd', false],
    ['ab', 'abc', false],
    ['abcd', 'abc', false],
    ['', 'abc', false],
    // Cut to a byte this would be `0`.
    ['\u0130', '0', false],
    ['\u{1f600}', 'abcd', false],
  ])('%j and %j: the same is %s', (shown, expected, isSame) => {
    expect(isSameSignature(shown, expected)).toBe(isSame)
  })
})

describe('the scope of a credential', () => {
  const of24May = scope('AKID', '20130524', 'us-east-1')
  const dateTime = '20130524T235959Z'

  test.each([undefined, 'us-east-1'])('for us-east-1 is good where the region is %s', (region) => {
    expect(() =>
      checkScope(of24May, { region, dateTime }, 'AuthorizationHeaderMalformed'),
    ).not.toThrow()
  })

  test('for another region is refused, and the answer names the right one', () => {
    const expected = { region: 'eu-west-1', dateTime }
    expect(() => checkScope(of24May, expected, 'AuthorizationHeaderMalformed')).toThrow(
      expect.objectContaining({
        code: 'AuthorizationHeaderMalformed',
        fields: { Region: 'eu-west-1' },
      }),
    )
  })

  test.each(['20130523T235959Z', '20130525T000000Z'])('is refused at %s', (other) => {
    const expected = { region: undefined, dateTime: other }
    expect(() => checkScope(of24May, expected, 'AuthorizationQueryParametersError')).toThrow(
      expect.objectContaining({ code: 'AuthorizationQueryParametersError', fields: {} }),
    )
  })
})
