import type { Owner } from '../bucket-settings.ts'
import { textElement } from '../xml/xml-writer.ts'

/** `Owner`, or `Initiator`, which looks the same. Nothing for `undefined`. */
export function ownerElement(owner: Owner | undefined, name = 'Owner'): string {
  if (owner === undefined) return ''
  const { id, displayName } = owner
  return `<${name}>${textElement('ID', id)}${textElement('DisplayName', displayName)}</${name}>`
}

/**
 * For a page of entries: owner and storage class, which end each. Most in a page are the same, and
 * so made once, and in one piece: a string made of many is copied piece by piece.
 */
export function entryEnds(): (owner: Owner | undefined, storageClass: string) => string {
  let lastOwner: Owner | undefined
  let lastClass: string | undefined
  let end = ''
  return (owner, storageClass) => {
    if (storageClass !== lastClass || !isSameOwner(owner, lastOwner)) {
      lastOwner = owner
      lastClass = storageClass
      end = [ownerElement(owner), textElement('StorageClass', storageClass)].join('')
    }
    return end
  }
}

function isSameOwner(a: Owner | undefined, b: Owner | undefined): boolean {
  return a === b || (a?.id === b?.id && a?.displayName === b?.displayName)
}
