import type { VolumeId } from '../base/ids.ts'
import type { JobKind } from '../net/jobs-api.ts'

export interface Lease {
  /** By the monotonic clock. */
  validUntilMs: number
  readonly sinceMs: number
  readonly locks: readonly string[]
}

export function volumeLock(volumeId: VolumeId): string {
  return `volume ${volumeId}`
}

export function diskLock(directoryId: string): string {
  return `disk ${directoryId}`
}

/** There is one healer; when it dies, others are to go on within seconds. */
const HEAL_LEASE_MS = 4000

/** What a heal job holds, whatever it is about. */
export const HEAL_LOCK = 'heal'

/** How long a worker with such a job may be silent. */
export function leaseMsOf(kind: JobKind, usualMs: number): number {
  return kind === 'heal' ? Math.min(usualMs, HEAL_LEASE_MS) : usualMs
}

/** Which jobs run, until when, and what nobody else may touch meanwhile. In memory only. */
export class JobLeases {
  readonly #leases = new Map<number, Lease>()
  /** Which running job holds what. */
  readonly #locks = new Map<string, number>()

  get jobIds(): Iterable<number> {
    return this.#leases.keys()
  }

  get(jobId: number): Lease | undefined {
    return this.#leases.get(jobId)
  }

  isLocked(lock: string): boolean {
    return this.#locks.has(lock)
  }

  grant(jobId: number, lease: Lease): Lease {
    this.#leases.set(jobId, lease)
    for (const lock of lease.locks) this.#locks.set(lock, jobId)
    return lease
  }

  /** Also those of a job that is not running: nothing happens. */
  release(jobId: number): void {
    const lease = this.#leases.get(jobId)
    if (lease === undefined) return
    this.#leases.delete(jobId)
    for (const lock of lease.locks) {
      if (this.#locks.get(lock) === jobId) this.#locks.delete(lock)
    }
  }

  expired(nowMs: number): number[] {
    const expired: number[] = []
    for (const [jobId, lease] of this.#leases) if (nowMs >= lease.validUntilMs) expired.push(jobId)
    return expired
  }
}
