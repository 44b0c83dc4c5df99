import { createHmac, timingSafeEqual } from 'node:crypto'
import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import { drawBytes, type Random } from '../runtime/random.ts'

/** The metadata of gRPC calls that come from a user. */
export const FILES_AUTH_HEADER = 'hayloft-user-auth'

export interface UserCredentials {
  readonly accessKeyId: string
  readonly secret: string
}

/** What a call says of whom it comes from; nothing of it is true before `isSignedWith` says so. */
export interface UserProof {
  readonly accessKeyId: string
  readonly signedAtMs: number
  /** 32 hex digits of chance: no two calls have the same. */
  readonly nonce: string
  /** HMAC-SHA256 in hex. */
  readonly mac: string
}

const NONCE_BYTES = 16
const PATTERN = /^v1 ([A-Za-z0-9_-]{3,128}) (\d{1,15}) ([0-9a-f]{32}) ([0-9a-f]{64})$/

/**
 * Shows that a call comes from whoever has the secret of an access key:
 *
 *     v1 <access key> <milliseconds since 1970> <32 hex digits of chance> <HMAC-SHA256 in hex>
 *
 * The key of the HMAC is the secret; it covers all before it, a line feed, `grpc ` and the path of
 * the method. It does not cover the messages: use TLS where others can change them on the way.
 */
export function signUserCall(
  parts: { readonly clock: Clock; readonly random: Random },
  { accessKeyId, secret }: UserCredentials,
  path: string,
): string {
  const nonce = drawBytes(parts.random, NONCE_BYTES).toString('hex')
  const proof = { accessKeyId, signedAtMs: parts.clock.nowMs(), nonce }
  return `${headOf(proof)} ${macOf(proof, secret, path).toString('hex')}`
}

/** @throws {StoreError} UNAUTHENTICATED: missing, or not written like this. */
export function readUserProof(value: string | undefined): UserProof {
  if (value === undefined) {
    throw new StoreError('UNAUTHENTICATED', 'the call does not say which user it comes from')
  }
  const [whole, accessKeyId = '', signedAtMs = '', nonce = '', mac = ''] = PATTERN.exec(value) ?? []
  if (whole === undefined) {
    throw new StoreError('UNAUTHENTICATED', `${FILES_AUTH_HEADER} cannot be read`)
  }
  return { accessKeyId, signedAtMs: Number(signedAtMs), nonce, mac }
}

/** In a time that tells nothing of how wrong it is. */
export function isSignedWith(proof: UserProof, secret: string, path: string): boolean {
  return timingSafeEqual(Buffer.from(proof.mac, 'hex'), macOf(proof, secret, path))
}

function headOf(proof: Omit<UserProof, 'mac'>): string {
  return `v1 ${proof.accessKeyId} ${proof.signedAtMs} ${proof.nonce}`
}

function macOf(proof: Omit<UserProof, 'mac'>, secret: string, path: string): Buffer {
  return createHmac('sha256', secret)
    .update(`${headOf(proof)}\ngrpc ${path}`)
    .digest()
}
