import { describe, expect, test } from 'vitest'
import { PostFields } from '../../../../src/gateway/s3/auth/post-fields.ts'

const VARIABLE = `\${filename}`

describe('the fields of a form', () => {
  test('are found whichever the capitals of their names', () => {
    const fields = PostFields.of([['kEy', 'Value']])
    expect(fields.get('KEY')).toBe('Value')
    expect(fields.has('key')).toBe(true)
    expect(fields.has('acl')).toBe(false)
    expect([...fields.names()]).toEqual(['key'])
  })

  test('of one name are refused: InvalidArgument', () => {
    const pairs = [
      ['key', 'a'],
      ['Key', 'a'],
    ] as const
    expect(() => PostFields.of(pairs)).toThrow(expect.objectContaining({ code: 'InvalidArgument' }))
  })

  test.each([
    [VARIABLE, 'a.txt', 'a.txt'],
    [`user/${VARIABLE}`, 'a.txt', 'user/a.txt'],
    [`${VARIABLE}/${VARIABLE}`, 'a', 'a/a'],
    [VARIABLE, '/home/me/a.txt', 'a.txt'],
    [VARIABLE, 'C:\\Users\\me\\a.txt', 'a.txt'],
    [VARIABLE, '../../a', 'a'],
    [`u/${VARIABLE}`, '', 'u/'],
    [VARIABLE, VARIABLE, VARIABLE],
    [VARIABLE, '$&$1', '$&$1'],
    ['plain', 'a.txt', 'plain'],
  ])('with the key %s and the file %s have the key %s', (key, fileName, expected) => {
    const fields = PostFields.of([['key', key]])
    expect(fields.withFileName(fileName).get('key')).toBe(expected)
    expect(fields.get('key')).toBe(key)
  })

  test('keep the variable where it is not in the key', () => {
    const fields = PostFields.of([['x-amz-meta-a', VARIABLE]])
    expect(fields.withFileName('a').get('x-amz-meta-a')).toBe(VARIABLE)
  })
})
