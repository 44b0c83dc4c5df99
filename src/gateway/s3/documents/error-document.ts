import type { S3Error } from '../s3-error.ts'
import { checkElementName, textElement, XML_DECLARATION } from '../xml/xml-writer.ts'

export interface FailedRequest {
  /** The path that was asked for. */
  readonly resource: string
  /** The same as in the header `x-amz-request-id`. */
  readonly requestId: string
  /** The same as in the header `x-amz-id-2`. */
  readonly hostId: string
}

/** `Error`, to which S3 gives no namespace. */
export function writeError(error: S3Error, request: FailedRequest): string {
  const fields = Object.entries(error.fields).map(([name, value]) => {
    checkElementName(name)
    return textElement(name, value)
  })
  const content = [
    textElement('Code', error.code),
    textElement('Message', error.message),
    ...fields,
    textElement('Resource', request.resource),
    textElement('RequestId', request.requestId),
    textElement('HostId', request.hostId),
  ]
  return `${XML_DECLARATION}<Error>${content.join('')}</Error>`
}
