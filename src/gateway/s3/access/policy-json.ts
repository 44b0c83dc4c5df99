import { quote } from '../../../base/store-error.ts'
import { S3Error } from '../s3-error.ts'

/** `where` is a path into the document, like `Statement[1].Action`. */
export function malformed(where: string, what: string): S3Error {
  return new S3Error('MalformedPolicy', `${where}: ${what}`)
}

/**
 * The fields of a JSON object as a map, so that one called `__proto__` is a field like any other.
 *
 * @throws {S3Error} MalformedPolicy: no object, or a field that is not in `known`.
 */
export function readObject(
  value: unknown,
  where: string,
  known?: readonly string[],
): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed(where, 'must be an object')
  }
  const fields = new Map<string, unknown>(Object.entries(value))
  for (const name of fields.keys()) {
    if (known !== undefined && !known.includes(name)) {
      throw malformed(where, `has an unknown field ${quote(name)}`)
    }
  }
  return fields
}

/** @throws {S3Error} MalformedPolicy */
export function readText(value: unknown, where: string): string {
  if (typeof value !== 'string') throw malformed(where, 'must be a string')
  return value
}

/** One string, or a list of at least one. @throws {S3Error} MalformedPolicy */
export function readTexts(value: unknown, where: string): readonly string[] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (values.length === 0) throw malformed(where, 'must not be empty')
  return values.map((item) => readText(item, where))
}
