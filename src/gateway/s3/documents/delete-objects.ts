import { malformed, parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, xmlDocument } from '../xml/xml-writer.ts'
import { unquoteEtag } from './etag-text.ts'

/** As many as S3 allows, which is as many as a page of a list has. */
const DELETE_OBJECTS_MAX = 1000

export interface ObjectToDelete {
  readonly key: string
  readonly versionId: string | undefined
  /** Conditions: what does not match is not deleted. The entity tag has no quotes. */
  readonly etag: string | undefined
  readonly modifiedAtMs: number | undefined
  readonly sizeBytes: number | undefined
}

export interface DeleteObjects {
  /** Only what could not be deleted is to be told. */
  readonly isQuiet: boolean
  readonly objects: readonly ObjectToDelete[]
}

export interface DeletedObject {
  readonly key: string
  /** As it was asked for. */
  readonly versionId: string | undefined
  /** Of the delete marker that was made or deleted; undefined: neither happened. */
  readonly markerVersionId: string | undefined
}

export interface UndeletedObject {
  readonly key: string
  readonly versionId: string | undefined
  readonly code: string
  readonly message: string
}

export interface DeleteObjectsResult {
  readonly deleted: readonly DeletedObject[]
  readonly failed: readonly UndeletedObject[]
}

/**
 * `Delete`: keys come out exactly as they were sent.
 *
 * @throws {S3Error} MalformedXML: also with no object, or more than 1,000.
 */
export function readDelete(body: Uint8Array): DeleteObjects {
  const root = parseXml(body, 'Delete')
  root.only('Object', 'Quiet')
  const isQuiet = root.boolean('Quiet') ?? false
  const objects = root.children('Object')
  if (objects.length === 0 || objects.length > DELETE_OBJECTS_MAX) {
    throw malformed(`${objects.length} objects: 1 to ${DELETE_OBJECTS_MAX}`)
  }
  return { isQuiet, objects: objects.map(readObject) }
}

function readObject(element: XmlElement): ObjectToDelete {
  const key = element.requiredText('Key')
  if (key === '') throw malformed('an empty Key')
  if (element.elements.length === 1) {
    element.only('Key')
    return {
      key,
      versionId: undefined,
      etag: undefined,
      modifiedAtMs: undefined,
      sizeBytes: undefined,
    }
  }
  element.only('Key', 'VersionId', 'ETag', 'LastModifiedTime', 'Size')
  const etag = element.text('ETag')
  return {
    key,
    versionId: element.text('VersionId'),
    etag: etag === undefined ? undefined : unquoteEtag(etag),
    modifiedAtMs: readModifiedTime(element),
    sizeBytes: element.integer('Size', { min: 0, max: Number.MAX_SAFE_INTEGER }),
  }
}

/** This one time is written as in headers, `Sat, 21 Nov 2026 00:00:00 GMT`. */
function readModifiedTime(element: XmlElement): number | undefined {
  const text = element.text('LastModifiedTime')?.trim()
  if (text === undefined) return undefined
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT$/.test(text)) {
    return element.timeMs('LastModifiedTime')
  }
  const timeMs = Date.parse(text)
  if (Number.isNaN(timeMs)) throw malformed('LastModifiedTime is not a time')
  return timeMs
}

/** `DeleteResult`. Keys are never URL-encoded here. */
export function writeDeleteResult(result: DeleteObjectsResult): string {
  const deleted = result.deleted.map(writeDeleted).join('')
  return xmlDocument('DeleteResult', `${deleted}${result.failed.map(writeFailed).join('')}`)
}

function writeDeleted(object: DeletedObject): string {
  const key = textElement('Key', object.key)
  const { versionId, markerVersionId } = object
  if (versionId === undefined && markerVersionId === undefined) return `<Deleted>${key}</Deleted>`
  const version = textElement('VersionId', versionId)
  const marker = markerVersionId === undefined ? '' : '<DeleteMarker>true</DeleteMarker>'
  const markerVersion = textElement('DeleteMarkerVersionId', markerVersionId)
  return `<Deleted>${key}${version}${marker}${markerVersion}</Deleted>`
}

function writeFailed(object: UndeletedObject): string {
  const key = textElement('Key', object.key)
  const version = textElement('VersionId', object.versionId)
  const code = textElement('Code', object.code)
  return `<Error>${key}${version}${code}${textElement('Message', object.message)}</Error>`
}
