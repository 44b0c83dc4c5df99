import { textElement, xmlDocument } from '../xml/xml-writer.ts'

/** Lower case, unlike the examples of AWS: botocore takes anything else for false. */
export function writePolicyStatus(isPublic: boolean): string {
  return xmlDocument('PolicyStatus', textElement('IsPublic', isPublic))
}
