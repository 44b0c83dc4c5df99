import { textElement, xmlDocument } from '../xml/xml-writer.ts'
import {
  commonPrefixElements,
  encodingTypeElement,
  type KeyEncoding,
  keyElement,
} from './list-encoding.ts'

/** What all lists of keys say of their page. */
export interface KeysPage {
  readonly bucket: string
  readonly prefix: string
  readonly delimiter: string | undefined
  readonly encoding: KeyEncoding
  readonly isTruncated: boolean
  readonly commonPrefixes: readonly string[]
}

export interface CountedKeysPage extends KeysPage {
  readonly maxKeys: number
}

/**
 * A list of objects or of versions.
 *
 * @param place elements that say where the page begins and where the next one does.
 */
export function writeKeysPage(
  rootName: string,
  page: CountedKeysPage,
  place: readonly string[],
  entries: readonly string[],
): string {
  const { encoding } = page
  return xmlDocument(
    rootName,
    [
      textElement('Name', page.bucket),
      keyElement('Prefix', page.prefix, encoding),
      ...place,
      textElement('MaxKeys', page.maxKeys),
      keyElement('Delimiter', page.delimiter, encoding),
      encodingTypeElement(encoding),
      textElement('IsTruncated', page.isTruncated),
      ...entries,
      commonPrefixElements(page.commonPrefixes, encoding),
    ].join(''),
  )
}
