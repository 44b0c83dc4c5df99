import { diskError } from '../../src/runtime/disk.ts'
import type { Prng } from './prng.ts'

/** What every call throws once the power is off. No `StoreError`: no code under test handles it. */
export class PowerCut extends Error {
  override readonly name = 'PowerCut'
}

const CALL_KINDS = [
  'open',
  'create',
  'read',
  'writev',
  'datasync',
  'truncate',
  'sizeBytes',
  'rename',
  'unlink',
  'syncDirectory',
  'list',
  'createDirectory',
  'removeDirectory',
  'stat',
  'space',
  'lock',
] as const

/** `create` is an open that makes a file; the `Sync` forms count as `read` and `writev`. */
export type CallKind = (typeof CALL_KINDS)[number]

export type FaultCode = 'EIO' | 'ENOSPC'

/** Calls that change what a power cut may leave behind: only there a cut makes a difference. */
const CUTTABLE: ReadonlySet<CallKind> = new Set<CallKind>([
  'create',
  'writev',
  'datasync',
  'truncate',
  'rename',
  'unlink',
  'removeDirectory',
  'syncDirectory',
])

export interface DiskCall {
  readonly kind: CallKind
  readonly path: string
  /** The boot in which the caller's handle was opened, or the call was made. */
  readonly boot: number
}

interface ArmedFault {
  readonly code: FaultCode
  readonly kinds: ReadonlySet<CallKind> | undefined
  callsLeft: number
}

/**
 * Decides for each call of the crash model whether it works, fails, or loses power midway; counts
 * calls. A boot ends with `restart`: calls begun in an earlier one throw `PowerCut` for ever.
 */
export class FaultPlan {
  readonly prng: Prng
  readonly calls: Record<CallKind, number>
  #boot = 1
  #isPowerOff = false
  #callsUntilCut: number | undefined
  #armed: ArmedFault[] = []

  constructor(prng: Prng) {
    this.prng = prng
    this.calls = Object.fromEntries(CALL_KINDS.map((kind) => [kind, 0])) as Record<CallKind, number>
  }

  get boot(): number {
    return this.#boot
  }

  get isPowerOff(): boolean {
    return this.#isPowerOff
  }

  get armedCount(): number {
    return this.#armed.length
  }

  cutPowerAfter(callCount: number): void {
    if (callCount <= 0) this.#isPowerOff = true
    else this.#callsUntilCut = callCount
  }

  failCall(callCount: number, code: FaultCode, kinds?: readonly CallKind[]): void {
    this.#armed.push({ code, kinds: kinds && new Set(kinds), callsLeft: callCount })
  }

  restart(): void {
    this.#boot++
    this.#isPowerOff = false
    this.#callsUntilCut = undefined
    this.#armed = []
  }

  /**
   * Lets other work run first, as a real disk does, for a random few turns: the effect of a call
   * comes some time after the call.
   */
  async pause(): Promise<void> {
    for (let turns = this.prng.below(4); turns > 0; turns--) await undefined
  }

  checkPower(boot: number): void {
    if (this.#isPowerOff) throw new PowerCut('the power is off')
    if (boot !== this.#boot) throw new PowerCut('this call belongs to a process that is gone')
  }

  /**
   * Runs `apply`; or, when a fault strikes, `strike` (what the interrupted call still did to the
   * disk) and throws.
   */
  perform<Result>(
    call: DiskCall,
    apply: () => Result,
    strike?: (fault: FaultCode | 'power-cut') => void,
  ): Result {
    this.checkPower(call.boot)
    this.calls[call.kind]++
    const fault = this.#nextFault(call.kind)
    if (fault === undefined) return apply()
    strike?.(fault)
    if (fault === 'power-cut') throw new PowerCut(`power cut during ${call.kind} of ${call.path}`)
    throw systemFailure(call.kind, call.path, fault)
  }

  #nextFault(kind: CallKind): FaultCode | 'power-cut' | undefined {
    if (this.#callsUntilCut !== undefined && CUTTABLE.has(kind)) {
      this.#callsUntilCut--
      if (this.#callsUntilCut === 0) {
        this.#isPowerOff = true
        return 'power-cut'
      }
    }
    let struck: ArmedFault | undefined
    for (const fault of this.#armed) {
      if (fault.kinds !== undefined && !fault.kinds.has(kind)) continue
      fault.callsLeft--
      if (fault.callsLeft <= 0) struck ??= fault
    }
    if (struck === undefined) return undefined
    this.#armed = this.#armed.filter((fault) => fault !== struck)
    return struck.code
  }
}

/** The `StoreError` the real disk would throw for this errno. */
export function systemFailure(call: string, path: string, errno: string): Error {
  return diskError(call, path, Object.assign(new Error(`${errno} (simulated)`), { code: errno }))
}
