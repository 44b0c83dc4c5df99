import { textElement, xmlDocument } from '../xml/xml-writer.ts'

/** Settings that no bucket here can have, as S3 shows them for a bucket where nobody set them. */

export function writeAccelerateConfiguration(): string {
  return xmlDocument('AccelerateConfiguration', '')
}

export function writeBucketLoggingStatus(): string {
  return xmlDocument('BucketLoggingStatus', '')
}

export function writeRequestPaymentConfiguration(): string {
  return xmlDocument('RequestPaymentConfiguration', textElement('Payer', 'BucketOwner'))
}
