import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { S3_OPERATIONS } from '../src/gateway/s3/operations.ts'
import { REPOSITORY } from './support/source-files.ts'

const TESTS = 'test/gateway/s3/'
/** A form is told by its body, not by its path: it is in no table of the code. */
const POST_OBJECT = { name: 'PostObject', request: 'POST /{bucket}' }
/** How a test names what has no command of its own in the SDK. */
const MENTIONS: Readonly<Record<string, string>> = { PostObject: 'createPresignedPost' }

const page = readFileSync(`${REPOSITORY}docs/S3.md`, 'utf8')
const rows = Array.from(
  page.matchAll(/^\| `(\w+)` \| `([^`]+)` \| (.*) \| `([^`]+)` \|$/gm),
  ([, name = '', request = '', notes = '', file = '']) => ({ name, request, notes, file }),
)

describe('docs/S3.md', () => {
  test('has a row for every operation of the code and for forms, and no other', () => {
    const coded = S3_OPERATIONS.map(({ level, method, name, parameter }) => {
      const path = { service: '/', bucket: '/{bucket}', object: '/{bucket}/{key}' }[level]
      return { name, request: `${method} ${path}${parameter === undefined ? '' : `?${parameter}`}` }
    })
    expect(rows.map(({ name, request }) => ({ name, request }))).toEqual([...coded, POST_OBJECT])
  })

  test.each(rows)('names a test of $name, and that tries it', ({ file, name }) => {
    const path = `${REPOSITORY}${TESTS}${file}`
    expect(existsSync(path), file).toBe(true)
    const wanted = MENTIONS[name] ?? `${name}Command`
    expect(new RegExp(`\\b${wanted}\\b`).test(readFileSync(path, 'utf8')), name).toBe(true)
  })

  test.each(rows.filter(({ notes }) => notes === '`NotImplemented`'))(
    'says that $name is not implemented, and a test has that answer',
    ({ name }) => {
      const text = readFileSync(`${REPOSITORY}${TESTS}sdk-operations.test.ts`, 'utf8')
      const listed = new RegExp(`'${name}', 'NotImplemented'|${name}[^']*are not implemented`)
      expect(listed.test(text), name).toBe(true)
    },
  )
})
