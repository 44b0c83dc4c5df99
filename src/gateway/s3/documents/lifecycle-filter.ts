import type { LifecycleFilter, Tag } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { malformed, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, xmlElement } from '../xml/xml-writer.ts'
import { readTagElement, tagElement } from './tagging.ts'

const PREFIX_LENGTH_MAX = 1024
/** As S3 has it, though no object here can be as large. */
const SIZE_BYTES_MAX = 1_099_511_627_776_000
const TAG_KEY_LENGTH_MAX = 128
const TAG_VALUE_LENGTH_MAX = 256

const CONDITIONS = ['Prefix', 'Tag', 'ObjectSizeGreaterThan', 'ObjectSizeLessThan']

/**
 * `Filter`: empty, one condition, or several in `And`.
 *
 * @throws {S3Error} MalformedXML: also several conditions without `And`, or fewer than two in it.
 * InvalidRequest: a tag twice, or sizes out of range or order. InvalidArgument: a prefix or tag
 * that is too long.
 */
export function readLifecycleFilter(element: XmlElement): LifecycleFilter {
  element.only(...CONDITIONS, 'And')
  const and = element.child('And')
  if (element.elements.length > 1) throw malformed('a Filter with several elements and no And')
  if (and === undefined) return readConditions(element)
  and.only(...CONDITIONS)
  if (and.elements.length < 2) throw malformed('an And of fewer than two')
  return readConditions(and)
}

function readConditions(element: XmlElement): LifecycleFilter {
  const prefix = element.text('Prefix')
  if (prefix !== undefined) checkLifecyclePrefix(prefix)
  const tags = element.children('Tag').map(readTagElement)
  checkTags(tags)
  const sizeAboveBytes = readSize(element, 'ObjectSizeGreaterThan', 0)
  const sizeBelowBytes = readSize(element, 'ObjectSizeLessThan', 1)
  if (
    sizeAboveBytes !== undefined &&
    sizeBelowBytes !== undefined &&
    sizeBelowBytes <= sizeAboveBytes
  ) {
    throw new S3Error(
      'InvalidRequest',
      "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.",
    )
  }
  return { prefix, tags, sizeAboveBytes, sizeBelowBytes }
}

/** @throws {S3Error} InvalidArgument: longer than any key. */
export function checkLifecyclePrefix(prefix: string): void {
  if (Buffer.byteLength(prefix) <= PREFIX_LENGTH_MAX) return
  throw new S3Error('InvalidArgument', `The maximum size of a prefix is ${PREFIX_LENGTH_MAX}.`)
}

function checkTags(tags: readonly Tag[]): void {
  const keys = new Set<string>()
  for (const { key, value } of tags) {
    if (key === '') throw malformed('an empty Key of a Tag')
    if (key.length > TAG_KEY_LENGTH_MAX || value.length > TAG_VALUE_LENGTH_MAX) {
      throw new S3Error('InvalidArgument', 'The Tag of a Filter is longer than a tag can be.')
    }
    if (keys.has(key)) throw new S3Error('InvalidRequest', 'Duplicate Tag Keys are not allowed.')
    keys.add(key)
  }
}

function readSize(element: XmlElement, name: string, min: number): number | undefined {
  const limit = Number.MAX_SAFE_INTEGER
  const sizeBytes = element.integer(name, { min: -limit, max: limit })
  if (sizeBytes === undefined || (sizeBytes >= min && sizeBytes <= SIZE_BYTES_MAX)) return sizeBytes
  const message = `'${name}' should be between ${min} and ${SIZE_BYTES_MAX}.`
  throw new S3Error('InvalidRequest', message)
}

export function writeLifecycleFilter(filter: LifecycleFilter): string {
  const conditions = [
    textElement('Prefix', filter.prefix),
    ...filter.tags.map(tagElement),
    textElement('ObjectSizeGreaterThan', filter.sizeAboveBytes),
    textElement('ObjectSizeLessThan', filter.sizeBelowBytes),
  ].filter((condition) => condition !== '')
  const content = conditions.join('')
  return xmlElement('Filter', conditions.length > 1 ? xmlElement('And', content) : content)
}
