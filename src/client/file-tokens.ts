import type { FileId } from '../base/file-id.ts'

/** What a cluster that guards its files wants to see; empty where it does not. */
export interface ClientTokens {
  write(fileId: FileId): string
  read(fileId: FileId): string
}

export const NO_TOKENS: ClientTokens = { write: () => '', read: () => '' }
