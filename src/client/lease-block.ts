import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import { addToNeedleId, type Cookie, type VolumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { Lease, NodeLocation } from '../net/master-api.ts'
import type { ConnectVolume, VolumeApi } from '../net/volume-api.ts'
import type { Random } from '../runtime/random.ts'

const TWO_32 = 2 ** 32
/** Of its time, when the next lease is asked for. */
const REFILL_SHARE = 0.75

/** A lease being used up: every id in it is given out once, in order. */
export class LeaseBlock {
  readonly volumeId: VolumeId
  readonly writeToken: string
  readonly expiresAtMs: number
  readonly refillAtMs: number
  readonly refillAtCount: number
  readonly #connect: ConnectVolume
  readonly #location: NodeLocation
  #hi: number
  #lo: number
  #leftCount: number

  /**
   * `askedAtMs` is when the lease was asked for: it may have been valid ever since.
   *
   * @throws {StoreError} NO_WRITABLE_VOLUME: no server holds its volume. PEER_FAILED: no ids.
   */
  constructor(lease: Lease, connect: ConnectVolume, random: Random, askedAtMs: number) {
    const { count, firstNeedleId, locations, validMs, volumeId } = lease
    // By chance, so that the clients of a volume share the work among its servers.
    const location = locations[random.u32() % Math.max(1, locations.length)]
    if (location === undefined) {
      throw new StoreError('NO_WRITABLE_VOLUME', `no server holds the leased volume ${volumeId}`)
    }
    if (!Number.isSafeInteger(count) || count < 1 || !(validMs >= 0)) {
      throw new StoreError('PEER_FAILED', `a lease of ${count} ids for ${validMs} ms`)
    }
    addToNeedleId(firstNeedleId, count - 1) // Throws when the last one has more than 64 bits.
    this.volumeId = volumeId
    this.#connect = connect
    this.#location = location
    this.writeToken = lease.writeToken
    this.expiresAtMs = askedAtMs + validMs
    this.refillAtMs = askedAtMs + validMs * REFILL_SHARE
    this.refillAtCount = count >> 1
    this.#hi = firstNeedleId.hi
    this.#lo = firstNeedleId.lo
    this.#leftCount = count
  }

  /**
   * The server that writes go to; it sends them on to the other copies. Ask for each write:
   * connections come and go.
   */
  get volume(): VolumeApi {
    return this.#connect(this.#location)
  }

  /** The `url` of that server. */
  get url(): string {
    return this.#location.url
  }

  get leftCount(): number {
    return this.#leftCount
  }

  takeFileId(cookie: Cookie): FileId {
    assert(this.#leftCount > 0, 'a file id of a used up lease')
    const needleId = { hi: this.#hi, lo: this.#lo }
    this.#leftCount--
    this.#lo++
    if (this.#lo === TWO_32) {
      this.#lo = 0
      this.#hi++
    }
    return { volumeId: this.volumeId, needleId, cookie }
  }
}
