import { textElement, xmlDocument } from '../xml/xml-writer.ts'

export interface InitiatedUpload {
  readonly bucket: string
  readonly key: string
  readonly uploadId: string
}

export function writeInitiateMultipartUploadResult(upload: InitiatedUpload): string {
  const bucket = textElement('Bucket', upload.bucket)
  const key = textElement('Key', upload.key)
  const content = `${bucket}${key}${textElement('UploadId', upload.uploadId)}`
  return xmlDocument('InitiateMultipartUploadResult', content)
}
