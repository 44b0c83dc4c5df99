import type { PublicAccessBlock } from '../bucket-settings.ts'
import { parseXml } from '../xml/xml-reader.ts'
import { textElement, xmlDocument } from '../xml/xml-writer.ts'

/** What is left out is false. @throws {S3Error} MalformedXML */
export function readPublicAccessBlock(body: Uint8Array): PublicAccessBlock {
  const root = parseXml(body, 'PublicAccessBlockConfiguration')
  root.only('BlockPublicAcls', 'IgnorePublicAcls', 'BlockPublicPolicy', 'RestrictPublicBuckets')
  return {
    blockPublicAcls: root.boolean('BlockPublicAcls') ?? false,
    ignorePublicAcls: root.boolean('IgnorePublicAcls') ?? false,
    blockPublicPolicy: root.boolean('BlockPublicPolicy') ?? false,
    restrictPublicBuckets: root.boolean('RestrictPublicBuckets') ?? false,
  }
}

export function writePublicAccessBlock(block: PublicAccessBlock): string {
  return xmlDocument(
    'PublicAccessBlockConfiguration',
    [
      textElement('BlockPublicAcls', block.blockPublicAcls),
      textElement('IgnorePublicAcls', block.ignorePublicAcls),
      textElement('BlockPublicPolicy', block.blockPublicPolicy),
      textElement('RestrictPublicBuckets', block.restrictPublicBuckets),
    ].join(''),
  )
}
