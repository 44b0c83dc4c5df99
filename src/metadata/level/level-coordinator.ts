import { assert } from '../../base/assert.ts'
import { hex8 } from '../../base/ids.ts'
import { LIMITS } from '../../base/limits.ts'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import { KeyedMutex } from '../../runtime/keyed-mutex.ts'
import type { Logger } from '../../runtime/logger.ts'
import type { Random } from '../../runtime/random.ts'
import type { Coordinator, NumberBlock } from '../coordinator.ts'
import type { MetadataStore } from '../metadata-store.ts'

const CLUSTER_ID_KEY = 'cluster/id'
const EPOCH_KEY = 'cluster/epoch'
const BLOCK_PREFIX = 'cluster/blocks/'

const ROW_VERSION = 1
const TEXT_ROW = /^[0-9a-f]{32}$/
const NUMBER_MAX = 1n << 64n

export interface LevelCoordinatorParts {
  /** Its directory is locked by this process: that is what makes this master the only leader. */
  readonly store: MetadataStore
  readonly random: Random
  readonly logger: Logger
}

export interface LevelCoordinatorConfig {
  readonly address: string
  /** Of the cluster whose metadata was lost, and is made anew: what its servers know. */
  readonly lost?: { readonly clusterId: string | undefined; readonly epoch: number } | undefined
}

/**
 * One master that leads for as long as it runs, on a store that only one process can open.
 *
 * Rows, each with a version byte first:
 *
 *     cluster/id             32 hex digits
 *     cluster/epoch          u64: the epoch of the last master that was opened
 *     cluster/blocks/{name}  u64: the end of the last block, on disk before any of it is used
 */
export class LevelCoordinator implements Coordinator {
  readonly clusterId: string
  readonly epoch: number
  readonly #store: MetadataStore
  readonly #address: string
  readonly #locks = new KeyedMutex<string>({ waitersMax: LIMITS.blockWaitersMax.value })
  #isClosed = false

  private constructor(
    store: MetadataStore,
    opened: { readonly clusterId: string; readonly epoch: number; readonly address: string },
  ) {
    this.#store = store
    this.clusterId = opened.clusterId
    this.epoch = opened.epoch
    this.#address = opened.address
  }

  /**
   * Takes the lead: the epoch is one higher than at any start before, durably. The store stays the
   * caller's to close, after this.
   *
   * @throws {StoreError} METADATA_CORRUPT: a row of the coordinator's cannot be read. The errors of
   * the store.
   */
  static async open(
    parts: LevelCoordinatorParts,
    config: LevelCoordinatorConfig,
    signal: AbortSignal,
  ): Promise<LevelCoordinator> {
    const { store, random, logger } = parts
    const [idRow, epochRow] = await store.getMany([CLUSTER_ID_KEY, EPOCH_KEY], signal)
    const { lost } = config
    const freshId = () => lost?.clusterId ?? newClusterId(random)
    const clusterId = idRow === undefined ? freshId() : decodeClusterId(idRow)
    const before = epochRow === undefined ? 0n : decodeNumber(EPOCH_KEY, epochRow)
    const epoch = Math.max(Number(before), lost?.epoch ?? 0) + 1
    await store.commit(
      {
        puts: [
          { key: CLUSTER_ID_KEY, value: encodeText(clusterId) },
          { key: EPOCH_KEY, value: encodeNumber(BigInt(epoch)) },
        ],
        conditions: [
          { key: CLUSTER_ID_KEY, value: idRow },
          { key: EPOCH_KEY, value: epochRow },
        ],
      },
      signal,
    )
    logger.info('coordinator.leading', { clusterId, epoch })
    return new LevelCoordinator(store, { clusterId, epoch, address: config.address })
  }

  get leader(): string {
    return this.isLeader() ? this.#address : ''
  }

  isLeader(): boolean {
    return !this.#isClosed
  }

  async allocateBlock(
    name: string,
    count: number,
    atLeast: bigint,
    signal: AbortSignal,
  ): Promise<NumberBlock> {
    assert(name !== '' && Number.isSafeInteger(count) && count > 0, `${count} numbers of ${name}`)
    assert(atLeast >= 0n && atLeast < NUMBER_MAX, `numbers of ${name} from ${atLeast}`)
    using _lock = await this.#locks.acquire(name, signal)
    if (this.#isClosed) throw new StoreError('NOT_LEADER', 'this master is shutting down')
    const key = BLOCK_PREFIX + name
    const row = await this.#store.get(key, signal)
    const next = row === undefined ? 1n : decodeNumber(key, row)
    const first = next > atLeast ? next : atLeast
    const end = first + BigInt(count)
    if (end >= NUMBER_MAX) throw new StoreError('OVERLOADED', `no numbers of ${name} are left`)
    try {
      await this.#store.commit(
        { puts: [{ key, value: encodeNumber(end) }], conditions: [{ key, value: row }] },
        signal,
      )
    } catch (error) {
      if (!isStoreError(error, 'METADATA_CONFLICT')) throw error
      throw new StoreError('NOT_LEADER', `someone else gave out numbers of ${name}`, {
        cause: error,
      })
    }
    return { first, end }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
  }
}

function newClusterId(random: Random): string {
  return Array.from({ length: 4 }, () => hex8(random.u32())).join('')
}

function encodeText(text: string): Uint8Array {
  return Buffer.concat([Buffer.of(ROW_VERSION), Buffer.from(text)])
}

function encodeNumber(value: bigint): Uint8Array {
  assert(value >= 0n && value < NUMBER_MAX, `${value} does not fit a row`)
  const row = Buffer.alloc(9)
  row[0] = ROW_VERSION
  row.writeBigUInt64BE(value, 1)
  return row
}

function decodeClusterId(row: Uint8Array): string {
  const text = Buffer.from(row.subarray(1)).toString('latin1')
  if (row[0] !== ROW_VERSION || !TEXT_ROW.test(text)) throw corruptRow(CLUSTER_ID_KEY)
  return text
}

function decodeNumber(key: string, row: Uint8Array): bigint {
  if (row[0] !== ROW_VERSION || row.length !== 9) throw corruptRow(key)
  return Buffer.from(row.buffer, row.byteOffset, row.byteLength).readBigUInt64BE(1)
}

function corruptRow(key: string): StoreError {
  return new StoreError('METADATA_CORRUPT', `the row ${key} cannot be read`)
}
