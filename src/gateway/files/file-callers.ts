import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'
import { isSignedWith, readUserProof } from '../../net/files-auth.ts'
import type { CallContext } from '../../net/grpc-service.ts'
import type { UsersApi } from '../../net/users-api.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Identity, KeyRing } from '../s3/auth/identity.ts'
import { SeenNonces } from './seen-nonces.ts'

export interface FileCallersParts {
  readonly keys: KeyRing
  readonly users: Pick<UsersApi, 'get'>
  readonly clock: Clock
}

/** Whose files a call is about. */
export interface FileOwner {
  readonly name: string
  /** Canonical id. */
  readonly id: string
}

/** Users who call, and whose files they may use. */
export class FileCallers {
  readonly #keys: KeyRing
  readonly #users: Pick<UsersApi, 'get'>
  readonly #clock: Clock
  readonly #nonces: SeenNonces

  constructor(parts: FileCallersParts) {
    this.#keys = parts.keys
    this.#users = parts.users
    this.#clock = parts.clock
    this.#nonces = new SeenNonces(parts, { skewMs: LIMITS.clusterAuthSkewMs.value })
  }

  /**
   * @throws {StoreError} UNAUTHENTICATED: no signature, or one that is wrong, of an unknown or
   * disabled key, out of time, or seen before. OVERLOADED; the errors of the key ring.
   */
  async identify(call: Pick<CallContext, 'header' | 'path'>, header: string): Promise<Identity> {
    const proof = readUserProof(call.header(header))
    const skewMs = Math.abs(this.#clock.nowMs() - proof.signedAtMs)
    if (skewMs > LIMITS.clusterAuthSkewMs.value) {
      const seconds = Math.round(skewMs / 1000)
      throw refused(`signed ${seconds} s away from the time here; set the clocks`)
    }
    const key = await this.#keys.findKey(proof.accessKeyId)
    // The same words and, nearly, the same time: strangers do not learn which keys there are.
    const isSigned = isSignedWith(proof, key?.secret ?? '', call.path)
    if (key === undefined || !isSigned) {
      throw refused('there is no such access key, or the signature is not made with its secret')
    }
    this.#nonces.add(proof.accessKeyId, proof.nonce, proof.signedAtMs)
    return key.user
  }

  /**
   * The name of the user whose files the call is about; empty: the caller.
   *
   * @throws {StoreError} ACCESS_DENIED: somebody else, and the caller is not the root user.
   */
  nameOf(caller: Identity, user: string): string {
    if (user === '' || user === caller.name) return caller.name
    this.checkAll(caller)
    return user
  }

  /** @throws {StoreError} ACCESS_DENIED: the caller is not the root user. */
  checkAll(caller: Identity): void {
    if (caller.isRoot) return
    const why = `${caller.name} may use files of its own, and no others`
    throw new StoreError('ACCESS_DENIED', why)
  }

  /** Who will own a file. @throws {StoreError} ACCESS_DENIED, USER_NOT_FOUND. */
  async ownerOf(caller: Identity, user: string, signal: AbortSignal): Promise<FileOwner> {
    const name = this.nameOf(caller, user)
    if (name === caller.name) return { name, id: caller.canonicalId }
    return { name, id: (await this.#users.get(name, signal)).canonicalId }
  }
}

function refused(why: string): StoreError {
  return new StoreError('UNAUTHENTICATED', why)
}
