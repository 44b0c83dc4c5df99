import { OBJECT_OWNERSHIPS, type ObjectOwnership } from '../bucket-settings.ts'
import { parseXml } from '../xml/xml-reader.ts'
import { textElement, xmlDocument, xmlElement } from '../xml/xml-writer.ts'

/** `OwnershipControls`, which has exactly one rule. @throws {S3Error} MalformedXML */
export function readOwnershipControls(body: Uint8Array): ObjectOwnership {
  const root = parseXml(body, 'OwnershipControls')
  root.only('Rule')
  const rule = root.requiredChild('Rule')
  rule.only('ObjectOwnership')
  return rule.requiredChoice('ObjectOwnership', OBJECT_OWNERSHIPS)
}

export function writeOwnershipControls(ownership: ObjectOwnership): string {
  const rule = xmlElement('Rule', textElement('ObjectOwnership', ownership))
  return xmlDocument('OwnershipControls', rule)
}
