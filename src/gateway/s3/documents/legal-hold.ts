import { parseXml } from '../xml/xml-reader.ts'
import { textElement, xmlDocument } from '../xml/xml-writer.ts'

/** `LegalHold`: whether it is on. @throws {S3Error} MalformedXML */
export function readLegalHold(body: Uint8Array): boolean {
  const root = parseXml(body, 'LegalHold')
  root.only('Status')
  return root.requiredChoice('Status', ['ON', 'OFF']) === 'ON'
}

export function writeLegalHold(isOn: boolean): string {
  return xmlDocument('LegalHold', textElement('Status', isOn ? 'ON' : 'OFF'))
}
