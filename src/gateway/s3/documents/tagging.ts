import type { Tag } from '../bucket-settings.ts'
import { cutText } from '../invalid-argument.ts'
import { isS3Error, S3Error } from '../s3-error.ts'
import { QueryParameters } from '../s3-request.ts'
import { parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, xmlDocument } from '../xml/xml-writer.ts'

/** As many as S3 allows. Source: the S3 user guide, on object and on bucket tags. */
const TAGS_MAX = { object: 10, bucket: 50 } as const
/** In UTF-16 units, as S3 counts them. */
const KEY_LENGTH_MAX = 128
const VALUE_LENGTH_MAX = 256

const ALLOWED_TEXT = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u
/** Kept for the system's own, however it is written. */
const SYSTEM_KEY = /^aws:/i

/** @throws {S3Error} MalformedXML, InvalidTag. */
export function readTagging(body: Uint8Array, holder: 'object' | 'bucket'): readonly Tag[] {
  const root = parseXml(body, 'Tagging')
  root.only('TagSet')
  const tags = readTagElements(root.requiredChild('TagSet'))
  checkTags(tags, holder)
  return tags
}

/**
 * What `x-amz-tagging` says: `name=value&name=value`, URL-encoded.
 *
 * @param header one Latin-1 character for each byte.
 * @throws {S3Error} InvalidTag. InvalidArgument: not URL-encoded UTF-8.
 */
export function parseTaggingHeader(header: string): readonly Tag[] {
  const tags = parsePairs(Buffer.from(header, 'latin1').toString('utf8'))
  checkTags(tags, 'object')
  return tags
}

function parsePairs(text: string): readonly Tag[] {
  try {
    return QueryParameters.parse(text).pairs.map(([key, value]) => ({ key, value }))
  } catch (cause) {
    if (!isS3Error(cause)) throw cause
    throw new S3Error('InvalidArgument', 'x-amz-tagging is not URL-encoded UTF-8.', {
      cause,
      fields: { ArgumentName: 'x-amz-tagging', ArgumentValue: cutText(text) },
    })
  }
}

/** All that the element holds; nothing else may be in it. @throws {S3Error} MalformedXML */
export function readTagElements(tagSet: XmlElement): readonly Tag[] {
  tagSet.only('Tag')
  return tagSet.elements.map(readTagElement)
}

/** @throws {S3Error} MalformedXML */
export function readTagElement(element: XmlElement): Tag {
  element.only('Key', 'Value')
  return { key: element.requiredText('Key'), value: element.requiredText('Value') }
}

/** @throws {S3Error} InvalidTag: too many, a key twice, or one that S3 does not allow. */
export function checkTags(tags: readonly Tag[], holder: 'object' | 'bucket'): void {
  if (tags.length > TAGS_MAX[holder]) {
    const holders = holder === 'object' ? 'Object tags' : 'Bucket tag count'
    throw new S3Error('InvalidTag', `${holders} cannot be greater than ${TAGS_MAX[holder]}`)
  }
  const keys = new Set<string>()
  for (const tag of tags) {
    const reason = whyInvalid(tag) ?? (keys.has(tag.key) ? 'The key is there twice' : undefined)
    if (reason !== undefined) {
      throw new S3Error('InvalidTag', reason, { fields: { TagKey: cutText(tag.key) } })
    }
    keys.add(tag.key)
  }
}

function whyInvalid({ key, value }: Tag): string | undefined {
  if (key.length < 1 || key.length > KEY_LENGTH_MAX || !ALLOWED_TEXT.test(key)) {
    return 'The TagKey you have provided is invalid'
  }
  if (value.length > VALUE_LENGTH_MAX || !ALLOWED_TEXT.test(value)) {
    return 'The TagValue you have provided is invalid'
  }
  return SYSTEM_KEY.test(key) ? 'System tags cannot be added or changed by requester' : undefined
}

export function writeTagging(tags: readonly Tag[]): string {
  return xmlDocument('Tagging', `<TagSet>${tags.map(tagElement).join('')}</TagSet>`)
}

export function tagElement(tag: Tag): string {
  return `<Tag>${textElement('Key', tag.key)}${textElement('Value', tag.value)}</Tag>`
}
