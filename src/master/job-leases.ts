import type { VolumeId } from '../base/ids.ts'

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
