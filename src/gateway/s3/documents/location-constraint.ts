import { escapeXml, xmlDocument } from '../xml/xml-writer.ts'

/** The oldest region has no name in this document: clients take an empty one for it. */
const UNNAMED_REGION = 'us-east-1'

export function writeLocationConstraint(region: string): string {
  return xmlDocument('LocationConstraint', region === UNNAMED_REGION ? '' : escapeXml(region))
}
