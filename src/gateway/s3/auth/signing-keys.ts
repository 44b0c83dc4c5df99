import { createHmac, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { CredentialScope } from './credential.ts'
import { HmacSha256 } from './hmac-sha256.ts'
import type { AccessKey } from './identity.ts'

/** Users times regions times days: today, and those of presigned requests that are still good. */
const SIGNING_KEYS_MAX = 4096

/**
 * Keys that were derived already. What is cached is a pure function of its arguments, so one cache
 * for the process is enough. The secret is part of what is looked up: a key made again under the
 * same id, or an id in another key ring, never meets the old secret's.
 */
const signingKeys = new LRUCache<string, Buffer>({ max: SIGNING_KEYS_MAX })

interface KeyOfScope {
  readonly secret: string
  readonly key: Buffer
}

/** The scope of the same client is mostly the same object: no text has to be put together. */
const keysByScope = new WeakMap<CredentialScope, KeyOfScope>()

/** The key that signs one day's requests to S3 in one region. Source: AWS Signature Version 4. */
export function signingKey(key: AccessKey, scope: CredentialScope): Buffer {
  const known = keysByScope.get(scope)
  if (known?.secret === key.secret) return known.key
  const found = findSigningKey(key, scope)
  keysByScope.set(scope, { secret: key.secret, key: found })
  return found
}

function findSigningKey(key: AccessKey, scope: CredentialScope): Buffer {
  const { date, region } = scope
  // No id, date or region that came with a request can hold a NUL.
  const cacheKey = `${scope.accessKeyId}\0${date}\0${region}\0${key.secret}`
  const cached = signingKeys.get(cacheKey)
  if (cached !== undefined) return cached
  const derived = deriveSigningKey(key.secret, date, region)
  signingKeys.set(cacheKey, derived)
  return derived
}

const signers = new WeakMap<Buffer, HmacSha256>()

/** In lower-case hex. `text` is Latin-1 characters that stand for bytes. */
export function signV4(key: Buffer, text: string): string {
  let signer = signers.get(key)
  if (signer === undefined) {
    signer = new HmacSha256(key)
    signers.set(key, signer)
  }
  return signer.sign(text)
}

/**
 * Takes the same time wherever two texts of the same length differ. Lengths are no secret: those of
 * all signatures are known.
 */
export function isSameSignature(shown: string, expected: string): boolean {
  const shownBytes = Buffer.from(shown)
  const expectedBytes = Buffer.from(expected)
  return shownBytes.length === expectedBytes.length && timingSafeEqual(shownBytes, expectedBytes)
}

function deriveSigningKey(secret: string, date: string, region: string): Buffer {
  let key = hmac(`AWS4${secret}`, date)
  for (const part of [region, 's3', 'aws4_request']) key = hmac(key, part)
  return key
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
