import { createHmac, timingSafeEqual } from 'node:crypto'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { deriveKey } from './cluster-secret.ts'

/** The header of HTTP requests and the metadata of gRPC calls. */
export const CLUSTER_AUTH_HEADER = 'hayloft-cluster-auth'

const PROOF_PARAMETER = '&proof='
const MAC_BYTES = 32

/**
 * Shows that the caller knows the cluster secret, and for which call:
 *
 *     v1 <milliseconds since 1970> <16 hex digits of chance> <HMAC-SHA256 in hex>
 *
 * The HMAC covers the way in, the exact method or path, time and chance: what was made for one
 * method is refused by every other, and by all after five minutes. It does not cover the body, and
 * whoever reads the traffic could repeat the call within that time: use TLS on untrusted networks.
 */
export class ClusterAuth {
  readonly #key: Buffer
  readonly #clock: Clock
  readonly #random: Random

  constructor(parts: { readonly clock: Clock; readonly random: Random }, secret: Buffer) {
    this.#clock = parts.clock
    this.#random = parts.random
    this.#key = deriveKey(secret, 'cluster auth v1')
  }

  /** For a gRPC call; `path` like `/hayloft.v1.Master/Grow`. */
  signGrpc(path: string): string {
    return this.#sign(`grpc ${path}`)
  }

  /** @throws {StoreError} UNAUTHENTICATED: missing, wrong, for another method, or out of time. */
  verifyGrpc(path: string, value: string | undefined): void {
    this.#verify(`grpc ${path}`, value)
  }

  /** For an HTTP request; `target` is path and query exactly as in the request line. */
  signHttp(method: string, target: string): string {
    return this.#sign(`http ${method} ${target}`)
  }

  /** @throws {StoreError} UNAUTHENTICATED: missing, wrong, for another request, or out of time. */
  verifyHttp(method: string, target: string, value: string | undefined): void {
    this.#verify(`http ${method} ${target}`, value)
  }

  /** The same as part of the target, at its end: so the headers of all requests are the same. */
  signTarget(method: string, target: string): string {
    const proof = this.signHttp(method, target).replaceAll(' ', '.')
    return `${target}${PROOF_PARAMETER}${proof}`
  }

  #sign(what: string): string {
    const nonce =
      this.#random.u32().toString(16).padStart(8, '0') +
      this.#random.u32().toString(16).padStart(8, '0')
    const head = `v1 ${this.#clock.nowMs()} ${nonce}`
    return `${head} ${this.#mac(head, what).toString('hex')}`
  }

  #verify(what: string, value: string | undefined): void {
    if (value === undefined) throw refused('this needs the cluster secret')
    const match = /^(v1 (\d{1,15}) [0-9a-f]{16}) ([0-9a-f]{64})$/.exec(value)
    const [, head = '', signedAtMs = '', mac = ''] = match ?? []
    const shown = Buffer.from(mac, 'hex')
    if (shown.length !== MAC_BYTES || !timingSafeEqual(shown, this.#mac(head, what))) {
      throw refused('the signature does not fit: another cluster secret, or another method')
    }
    const skewMs = Math.abs(this.#clock.nowMs() - Number(signedAtMs))
    if (skewMs > LIMITS.clusterAuthSkewMs.value) {
      throw refused(`signed ${Math.round(skewMs / 1000)} s away from the time here; set the clocks`)
    }
  }

  #mac(head: string, what: string): Buffer {
    return createHmac('sha256', this.#key).update(`${head}\n${what}`).digest()
  }
}

/** Takes apart what `signTarget` made; without a proof in it, it is the target alone. */
export function splitProof(signed: string): { readonly target: string; readonly proof?: string } {
  const at = signed.lastIndexOf(PROOF_PARAMETER)
  if (at < 0) return { target: signed }
  const proof = signed.slice(at + PROOF_PARAMETER.length).replaceAll('.', ' ')
  return { target: signed.slice(0, at), proof }
}

function refused(why: string): StoreError {
  return new StoreError('UNAUTHENTICATED', why)
}
