import type { VersioningStatus } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { parseXml } from '../xml/xml-reader.ts'
import { textElement, xmlDocument } from '../xml/xml-writer.ts'

/**
 * `VersioningConfiguration`.
 *
 * @throws {S3Error} MalformedXML. IllegalVersioningConfigurationException: no status.
 * NotImplemented: deletes shall need a second factor.
 */
export function readVersioningConfiguration(body: Uint8Array): VersioningStatus {
  const root = parseXml(body, 'VersioningConfiguration')
  root.only('Status', 'MfaDelete')
  if (root.choice('MfaDelete', ['Enabled', 'Disabled']) === 'Enabled') {
    throw new S3Error('NotImplemented', 'MFA delete is not implemented.')
  }
  const status = root.choice('Status', ['Enabled', 'Suspended'])
  if (status === undefined) throw new S3Error('IllegalVersioningConfigurationException')
  return status
}

/** Without a status, as for a bucket that never had versions, the document is empty. */
export function writeVersioningConfiguration(status: VersioningStatus | undefined): string {
  return xmlDocument('VersioningConfiguration', textElement('Status', status))
}
