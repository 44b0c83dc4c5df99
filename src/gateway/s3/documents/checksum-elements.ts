import {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
  type ChecksumType,
  type ObjectChecksum,
} from '../bucket-settings.ts'
import type { XmlElement } from '../xml/xml-reader.ts'
import { textElement } from '../xml/xml-writer.ts'

/** What it is, in base64, and not how it was made. */
export type ChecksumValue = Pick<ObjectChecksum, 'algorithm' | 'value'>

/** What a list says of an object's checksum: how it was made, not what it is. */
export type ChecksumKind = Pick<ObjectChecksum, 'algorithm' | 'type'>

/** `ChecksumCRC32` and its like. */
export const CHECKSUM_ELEMENTS: readonly string[] = CHECKSUM_ALGORITHMS.map(elementName)

/** All that are given, in the order of `CHECKSUM_ALGORITHMS`. @throws {S3Error} MalformedXML */
export function readChecksums(element: XmlElement): readonly ChecksumValue[] {
  return CHECKSUM_ALGORITHMS.flatMap((algorithm) => {
    const value = element.text(elementName(algorithm))
    return value === undefined ? [] : [{ algorithm, value }]
  })
}

/** The value alone. Nothing for `undefined`. */
export function checksumElement(checksum: ChecksumValue | undefined): string {
  return checksum === undefined ? '' : textElement(elementName(checksum.algorithm), checksum.value)
}

/** The value and the type. Nothing for `undefined`. */
export function objectChecksumElements(checksum: ObjectChecksum | undefined): string {
  if (checksum === undefined) return ''
  return `${checksumElement(checksum)}${textElement('ChecksumType', checksum.type)}`
}

/** The algorithm and the type. Nothing for `undefined`. */
export function checksumKindElements(kind: ChecksumKind | undefined): string {
  return kind === undefined ? '' : KIND_ELEMENTS[kind.type][kind.algorithm]
}

/** In a list every entry has one of these: made once, and each in one piece. */
const KIND_ELEMENTS = {
  FULL_OBJECT: kindElements('FULL_OBJECT'),
  COMPOSITE: kindElements('COMPOSITE'),
}

function kindElements(type: ChecksumType): Readonly<Record<ChecksumAlgorithm, string>> {
  const elements = (algorithm: ChecksumAlgorithm) =>
    [textElement('ChecksumAlgorithm', algorithm), textElement('ChecksumType', type)].join('')
  return {
    CRC32: elements('CRC32'),
    CRC32C: elements('CRC32C'),
    CRC64NVME: elements('CRC64NVME'),
    SHA1: elements('SHA1'),
    SHA256: elements('SHA256'),
  }
}

function elementName(algorithm: ChecksumAlgorithm): string {
  return `Checksum${algorithm}`
}
