import { S3Error } from '../s3-error.ts'
import { parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, xmlDocument, xmlElement } from '../xml/xml-writer.ts'

/** What was asked for. It is a setting that is kept and shown. */
export interface BucketEncryption {
  readonly algorithm: 'AES256'
  readonly isBucketKeyEnabled: boolean
}

/**
 * `ServerSideEncryptionConfiguration`, which has exactly one rule.
 *
 * @throws {S3Error} MalformedXML. NotImplemented: keys of a key management service, or kinds of
 * encryption to be blocked. InvalidArgument: such a key for AES256.
 */
export function readEncryptionConfiguration(body: Uint8Array): BucketEncryption {
  const root = parseXml(body, 'ServerSideEncryptionConfiguration')
  root.only('Rule')
  const rule = root.requiredChild('Rule')
  rule.only('ApplyServerSideEncryptionByDefault', 'BucketKeyEnabled', 'BlockedEncryptionTypes')
  if (rule.child('BlockedEncryptionTypes') !== undefined) {
    throw new S3Error('NotImplemented', 'Blocking kinds of encryption is not implemented.')
  }
  const algorithm = readDefault(rule.requiredChild('ApplyServerSideEncryptionByDefault'))
  return { algorithm, isBucketKeyEnabled: rule.boolean('BucketKeyEnabled') ?? false }
}

function readDefault(element: XmlElement): 'AES256' {
  element.only('SSEAlgorithm', 'KMSMasterKeyID')
  const known = ['AES256', 'aws:kms', 'aws:kms:dsse'] as const
  const algorithm = element.requiredChoice('SSEAlgorithm', known)
  if (algorithm !== 'AES256') {
    throw new S3Error('NotImplemented', `Encryption with ${algorithm} is not implemented.`)
  }
  if (element.text('KMSMasterKeyID') !== undefined) {
    const message = 'A KMSMasterKeyID is not applicable unless the algorithm is aws:kms.'
    throw new S3Error('InvalidArgument', message)
  }
  return algorithm
}

export function writeEncryptionConfiguration(encryption: BucketEncryption): string {
  const algorithm = textElement('SSEAlgorithm', encryption.algorithm)
  const byDefault = xmlElement('ApplyServerSideEncryptionByDefault', algorithm)
  const bucketKey = textElement('BucketKeyEnabled', encryption.isBucketKeyEnabled)
  const rule = xmlElement('Rule', `${byDefault}${bucketKey}`)
  return xmlDocument('ServerSideEncryptionConfiguration', rule)
}
