import { createRequire } from 'node:module'
import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'
import type { ErasureCodec, ShardColumn } from './erasure-codec.ts'

type ReedSolomon = typeof import('@ronomon/reed-solomon')

export const RONOMON_CODEC_ID = 'ronomon-cauchy'

/** The most data and parity shards it can make. */
export const RONOMON_SHARDS_MAX = { data: 24, parity: 6 } as const

/** Its parity depends on how much is coded at once, so this belongs to the format. */
export const RONOMON_UNIT_BYTES = 128 * KIB

/** Units are a multiple of it. */
const WORD_BYTES = 8

/**
 * The Cauchy code of @ronomon/reed-solomon, some gigabytes a second in the thread pool. Its parity
 * is not that of other systems, and not that of another unit.
 */
export class RonomonCodec implements ErasureCodec {
  readonly id = RONOMON_CODEC_ID
  readonly dataShards: number
  readonly parityShards: number
  readonly unitBytes: number
  readonly #reedSolomon: ReedSolomon
  readonly #context: Buffer

  private constructor(
    reedSolomon: ReedSolomon,
    context: Buffer,
    shards: { readonly dataShards: number; readonly parityShards: number },
    unitBytes: number,
  ) {
    if (!isBetween(unitBytes, WORD_BYTES, 2 ** 30) || unitBytes % WORD_BYTES !== 0) {
      throw unavailable(`units of ${unitBytes} bytes: it must be a multiple of ${WORD_BYTES}`)
    }
    this.dataShards = shards.dataShards
    this.parityShards = shards.parityShards
    this.unitBytes = unitBytes
    this.#reedSolomon = reedSolomon
    this.#context = context
  }

  /**
   * @throws {StoreError} CODEC_UNAVAILABLE: more shards than it can make, a unit it does not know,
   * or it was not built when Hayloft was installed.
   */
  static open(
    shards: { readonly dataShards: number; readonly parityShards: number },
    unitBytes: number = RONOMON_UNIT_BYTES,
  ): RonomonCodec {
    const { dataShards, parityShards } = shards
    if (
      !isBetween(dataShards, 1, RONOMON_SHARDS_MAX.data) ||
      !isBetween(parityShards, 1, RONOMON_SHARDS_MAX.parity)
    ) {
      const { data, parity } = RONOMON_SHARDS_MAX
      const most = `at most ${data}+${parity} shards`
      throw unavailable(`${dataShards}+${parityShards} shards: there can be ${most}`)
    }
    const reedSolomon = load()
    const scheme = `${dataShards}+${parityShards}`
    const context = contexts.get(scheme) ?? reedSolomon.create(dataShards, parityShards)
    contexts.set(scheme, context)
    return new RonomonCodec(reedSolomon, context, shards, unitBytes)
  }

  /** @throws {StoreError} CODEC_UNAVAILABLE: a unit it does not know. */
  ofUnit(unitBytes: number): RonomonCodec {
    return new RonomonCodec(this.#reedSolomon, this.#context, this, unitBytes)
  }

  encode(column: ShardColumn): Promise<void> {
    const { dataShards, parityShards } = this
    return this.#run(column, firstBits(dataShards), firstBits(parityShards) << dataShards)
  }

  async rebuild(
    column: ShardColumn,
    present: readonly number[],
    wanted: readonly number[],
  ): Promise<void> {
    assert(new Set(present).size >= this.dataShards, `${present.length} shards are too few`)
    if (wanted.length > 0) await this.#run(column, bitsOf(present), bitsOf(wanted))
  }

  #run({ data, parity }: ShardColumn, sources: number, targets: number): Promise<void> {
    // Other lengths would end the process, or code something else.
    assert(data.length === this.dataShards * this.unitBytes, 'a unit of each data shard')
    assert(parity.length === this.parityShards * this.unitBytes, 'a unit of each parity shard')
    assert((sources & targets) === 0, 'a shard is made from others')
    const { encode } = this.#reedSolomon
    return new Promise((resolve, reject) => {
      const done = (error?: Error): void => (error ? reject(error) : resolve())
      encode(this.#context, sources, targets, data, 0, data.length, parity, 0, parity.length, done)
    })
  }
}

let loaded: ReedSolomon | undefined
/** By scheme: nothing changes one once it is made, and a small file is coded sooner than it is. */
const contexts = new Map<string, Buffer>()

/** Only when it is needed: it is compiled at installation, and not everybody can do that. */
function load(): ReedSolomon {
  try {
    // What the package exports is the compiled file, which `import` does not read.
    loaded ??= createRequire(import.meta.url)('@ronomon/reed-solomon') as ReedSolomon
    return loaded
  } catch (cause) {
    const why = '@ronomon/reed-solomon is not built; a C compiler, make and python3 are needed'
    throw new StoreError('CODEC_UNAVAILABLE', `${why}, then npm ci again`, { cause })
  }
}

function isBetween(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max
}

function firstBits(count: number): number {
  return 2 ** count - 1
}

function bitsOf(shards: readonly number[]): number {
  return shards.reduce((bits, shard) => bits | (1 << shard), 0)
}

function unavailable(what: string): StoreError {
  return new StoreError('CODEC_UNAVAILABLE', what)
}
