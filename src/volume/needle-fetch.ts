import { crc32c } from '../base/crc32c.ts'
import type { FileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { matchesChecksum } from '../format/needle.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { NeedleContent, VolumeApi } from '../net/volume-api.ts'
import type { PutResult } from '../storage/pending-write.ts'
import type { Volume } from '../storage/volume.ts'

/** A fetch waits no longer than that for its turn. */
const OWN_TOKEN_S = 60

export interface NeedleFetchParts {
  readonly peer: VolumeApi
  /** Undefined: reads need no token. */
  readonly readTokens: FileTokens | undefined
  /** As an ordinary put: over a tombstone, but not over a needle with another cookie. */
  readonly isOverTombstones?: boolean
}

/**
 * What a put from another copy did. `deleted`: a tombstone here wins. `unavailable`: the other copy
 * does not have a good one.
 */
export type FetchOutcome = 'stored' | 'unchanged' | 'deleted' | 'unavailable'

/**
 * Brings a needle from another copy and stores it in `volume` durably, over whatever is there but
 * never over a tombstone. Every byte is checked before anything is written.
 *
 * @throws {StoreError} what the peer throws, except that it does not have the needle; PEER_FAILED:
 * it sent other bytes than it said; as `Volume.put`.
 */
export async function fetchNeedle(
  volume: Volume,
  fileId: FileId,
  { peer, readTokens, isOverTombstones = false }: NeedleFetchParts,
  signal: AbortSignal,
): Promise<FetchOutcome> {
  const isHeal = !isOverTombstones
  const readToken = readTokens?.mintRead(fileId, OWN_TOKEN_S) ?? ''
  const request = { fileId, range: undefined, readDeleted: false, readToken, isForwarded: true }
  try {
    await using content = await peer.read(request, signal)
    return await storeHealing(() => putContent(volume, { fileId, content, isHeal }, signal))
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND', 'COOKIE_MISMATCH', 'NEEDLE_CORRUPT')) {
      return 'unavailable'
    }
    throw error
  }
}

/** Runs a put that heals, and says what it did. */
export async function storeHealing(put: () => Promise<PutResult>): Promise<FetchOutcome> {
  try {
    const { isUnchanged } = await put()
    return isUnchanged ? 'unchanged' : 'stored'
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return 'deleted'
    throw error
  }
}

async function putContent(
  volume: Volume,
  { fileId, content, isHeal }: { fileId: FileId; content: NeedleContent; isHeal: boolean },
  signal: AbortSignal,
): Promise<PutResult> {
  const { needleId: id, cookie } = fileId
  const input = { id, cookie, attributes: content.metadata, isHeal }
  if (content.dataBytes > LIMITS.wholeReadMax.value) {
    return await volume.putStream(input, checked(content), signal)
  }
  const pieces: Uint8Array[] = []
  for await (const piece of checked(content)) pieces.push(piece)
  return await volume.put({ ...input, data: Buffer.concat(pieces) }, signal)
}

/** The data, which ends with an error unless all of it came as the peer said. */
async function* checked(content: NeedleContent): AsyncGenerator<Uint8Array, void, undefined> {
  let crc = 0
  let bytes = 0
  for await (const piece of content.data) {
    crc = crc32c(piece, crc)
    bytes += piece.length
    if (bytes > content.dataBytes) break
    yield piece
  }
  if (bytes === content.dataBytes && matchesChecksum(crc, content.checksum)) return
  throw new StoreError('PEER_FAILED', `${bytes} bytes of a needle do not match their checksum`)
}
