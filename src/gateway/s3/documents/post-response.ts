import { etagElement, textElement, XML_DECLARATION } from '../xml/xml-writer.ts'

export interface PostedObject {
  readonly location: string
  readonly bucket: string
  readonly key: string
  /** Without quotes. */
  readonly etag: string
}

/** What a form that asked for status 201 gets. S3 gives this document no namespace. */
export function writePostResponse(object: PostedObject): string {
  const location = textElement('Location', object.location)
  const bucket = textElement('Bucket', object.bucket)
  const key = textElement('Key', object.key)
  const content = `${location}${bucket}${key}${etagElement(object.etag)}`
  return `${XML_DECLARATION}<PostResponse>${content}</PostResponse>`
}
