import { hkdfSync } from 'node:crypto'
import { createSigner, createVerifier } from 'fast-jwt'
import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import {
  formatNeedleId,
  type NeedleId,
  needleId,
  needleIdToBigInt,
  type VolumeId,
} from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'

const KEY_BYTES = 32

export interface TokenKeys {
  readonly writeKey: Buffer
  readonly readKey: Buffer
}

/** Two keys that say nothing about each other nor about the secret they are made of. */
export function deriveTokenKeys(clusterSecret: Buffer): TokenKeys {
  const derive = (purpose: string): Buffer =>
    Buffer.from(hkdfSync('sha256', clusterSecret, '', `hayloft ${purpose} token`, KEY_BYTES))
  return { writeKey: derive('write'), readKey: derive('read') }
}

/** Needle ids of one volume, whatever their cookies. */
export interface NeedleBlock {
  readonly volumeId: VolumeId
  readonly firstNeedleId: NeedleId
  readonly count: number
}

interface Claims {
  readonly fid?: unknown
  readonly vid?: unknown
  readonly nid?: unknown
  readonly count?: unknown
  readonly exp?: unknown
}

/**
 * Tokens that allow to write or to read certain files for a while: JSON Web Tokens, HS256 and
 * nothing else, by two separate keys.
 *
 *     {fid: "3,01637037d6", count: 5, exp}         a file id, and the four above it with its cookie
 *     {vid: 3, nid: "01", count: 1000, exp}        a lease: these needle ids, any cookie
 *
 * `count` is 1 when it is left out, and `exp` (seconds since 1970) may not be.
 */
export class FileTokens {
  readonly #clock: Clock
  readonly #write: Signature
  readonly #read: Signature

  constructor(parts: { readonly clock: Clock }, keys: TokenKeys) {
    this.#clock = parts.clock
    this.#write = signature(keys.writeKey)
    this.#read = signature(keys.readKey)
  }

  /** For `count` file ids from this one on, all with its cookie. */
  mintWrite(fileId: FileId, seconds: number, count = 1): string {
    return this.#mint(this.#write, { fid: formatFileId(fileId), count }, seconds)
  }

  mintLease(block: NeedleBlock, seconds: number): string {
    const nid = formatNeedleId(block.firstNeedleId)
    return this.#mint(this.#write, { vid: block.volumeId, nid, count: block.count }, seconds)
  }

  mintRead(fileId: FileId, seconds: number): string {
    return this.#mint(this.#read, { fid: formatFileId(fileId) }, seconds)
  }

  /** @throws {StoreError} TOKEN_INVALID: forged, expired, malformed, empty, or for another file. */
  verifyWrite(token: string, fileId: FileId): void {
    this.#verify(this.#write, token, fileId)
  }

  /** @throws {StoreError} TOKEN_INVALID: as `verifyWrite`. */
  verifyRead(token: string, fileId: FileId): void {
    this.#verify(this.#read, token, fileId)
  }

  #mint(signature: Signature, claims: Claims, seconds: number): string {
    return signature.sign({ ...claims, exp: Math.floor(this.#clock.nowMs() / 1000) + seconds })
  }

  #verify(signature: Signature, token: string, fileId: FileId): void {
    if (token === '') throw invalid('a token is needed')
    const claims = decode(signature, token)
    if (typeof claims.exp !== 'number') throw invalid('the token does not say when it expires')
    if (claims.exp * 1000 <= this.#clock.nowMs()) throw invalid('the token has expired')
    if (!covers(claims, fileId)) throw invalid('the token is for another file')
  }
}

interface Signature {
  readonly sign: (claims: Claims) => string
  readonly verify: (token: string) => Claims
}

/** The library looks at signature and algorithm only: its time is not the clock of this program. */
function signature(key: Buffer): Signature {
  const verify = createVerifier({
    key,
    algorithms: ['HS256'],
    ignoreExpiration: true,
    ignoreNotBefore: true,
    cache: false,
  })
  return {
    sign: createSigner({ key, algorithm: 'HS256', noTimestamp: true }),
    verify: (token) => verify(token),
  }
}

function decode(signature: Signature, token: string): Claims {
  try {
    return signature.verify(token)
  } catch (cause) {
    throw new StoreError('TOKEN_INVALID', 'the token is not one of this cluster', { cause })
  }
}

function covers(claims: Claims, fileId: FileId): boolean {
  const { count = 1 } = claims
  if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 1) return false
  const first = claims.fid === undefined ? blockStart(claims) : fileStart(claims, fileId)
  if (first === undefined || first.volumeId !== fileId.volumeId) return false
  const distance = needleIdToBigInt(fileId.needleId) - needleIdToBigInt(first.needleId)
  return distance >= 0n && distance < BigInt(count)
}

type BlockStart = { readonly volumeId: number; readonly needleId: NeedleId } | undefined

function fileStart(claims: Claims, wanted: FileId): BlockStart {
  try {
    const first = parseFileId(String(claims.fid))
    return first.cookie === wanted.cookie ? first : undefined
  } catch {
    return undefined // A claim that is no file id covers no file.
  }
}

function blockStart(claims: Claims): BlockStart {
  const { vid, nid } = claims
  if (typeof vid !== 'number' || typeof nid !== 'string') return undefined
  if (!/^[0-9a-f]{1,16}$/.test(nid)) return undefined
  const digits = nid.padStart(16, '0')
  const id = needleId(Number.parseInt(digits.slice(0, 8), 16), Number.parseInt(digits.slice(8), 16))
  return { volumeId: vid, needleId: id }
}

function invalid(why: string): StoreError {
  return new StoreError('TOKEN_INVALID', why)
}
