import type { FileId } from '../base/file-id.ts'
import { deriveTokenKeys, FileTokens } from '../net/file-token.ts'
import type { Clock } from '../runtime/clock.ts'

/** What a cluster that guards its files wants to see; empty where it does not. */
export interface ClientTokens {
  write(fileId: FileId): string
  read(fileId: FileId): string
}

export const NO_TOKENS: ClientTokens = { write: () => '', read: () => '' }

/** Made anew for each call, so it only has to outlast the call. */
const TOKEN_S = 60

/** Who knows the secret of the cluster may touch every file. */
export function tokensOf(secret: Buffer, clock: Clock): ClientTokens {
  const tokens = new FileTokens({ clock }, deriveTokenKeys(secret))
  return {
    write: (fileId) => tokens.mintWrite(fileId, TOKEN_S),
    read: (fileId) => tokens.mintRead(fileId, TOKEN_S),
  }
}
