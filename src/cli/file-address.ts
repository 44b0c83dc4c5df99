import { parseFileId } from '../base/file-id.ts'
import { isStoreError } from '../base/store-error.ts'

/** A file of a cluster, as a user names it. */
export type FileAddress =
  | { readonly kind: 'id'; readonly fileId: string }
  | { readonly kind: 'name'; readonly name: string }

/** What reads as a file id is one: no file can have such a name. */
export function readFileAddress(text: string): FileAddress {
  try {
    parseFileId(text)
    return { kind: 'id', fileId: text }
  } catch (error) {
    if (isStoreError(error, 'FILE_ID_INVALID')) return { kind: 'name', name: text }
    throw error
  }
}
