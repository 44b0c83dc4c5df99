import { RonomonCodec } from '../../src/erasure/ronomon-codec.ts'

type Method = 'encode' | 'rebuild'

/**
 * The codec works in threads, in real time, which simulated time does not wait for: tests with a
 * `SimClock` do, through this. Restores everything when it is disposed of.
 */
export class CodecWatch implements Disposable {
  readonly #originals = new Map<Method, (...args: never[]) => Promise<void>>()
  #underWayCount = 0

  constructor() {
    for (const name of ['encode', 'rebuild'] as const) this.#watch(name)
  }

  /** Resolves when the codec does nothing. */
  async idle(): Promise<void> {
    while (this.#underWayCount > 0) await new Promise(setImmediate)
  }

  [Symbol.dispose](): void {
    for (const [name, original] of this.#originals) {
      Reflect.set(RonomonCodec.prototype, name, original)
    }
  }

  #watch(name: Method): void {
    const original = RonomonCodec.prototype[name] as (...args: never[]) => Promise<void>
    this.#originals.set(name, original)
    const counted = async (codec: RonomonCodec, args: never[]): Promise<void> => {
      this.#underWayCount++
      try {
        await original.apply(codec, args)
      } finally {
        this.#underWayCount--
      }
    }
    Reflect.set(
      RonomonCodec.prototype,
      name,
      function watched(this: RonomonCodec, ...args: never[]) {
        return counted(this, args)
      },
    )
  }
}
