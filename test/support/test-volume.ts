import { expect } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { type ErrorCode, isStoreError } from '../../src/base/store-error.ts'
import type { NeedleAttributes } from '../../src/format/needle-attributes.ts'
import type { SuperBlock } from '../../src/format/super-block.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import type { FindingCode } from '../../src/storage/check-report.ts'
import { checkVolume } from '../../src/storage/check-volume.ts'
import { LargeNeedle } from '../../src/storage/needle-reader.ts'
import type { DeleteResult, PutResult } from '../../src/storage/pending-write.ts'
import { Volume } from '../../src/storage/volume.ts'
import {
  type Durability,
  type SpaceGuard,
  UNGUARDED_SPACE,
  type VolumeOptions,
} from '../../src/storage/volume-options.ts'
import { volumePaths } from '../../src/storage/volume-paths.ts'
import { HookDisk } from './hook-disk.ts'
import { MemDisk } from './mem-disk.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'
import { cookieOf, PLAIN_SUPER_BLOCK, SIGNAL, toId } from './volume-model.ts'

export { cookieOf, PLAIN_SUPER_BLOCK, SIGNAL, toId } from './volume-model.ts'

export const DIRECTORY = '/v'
export const PATHS = volumePaths(DIRECTORY, { collection: '', volumeId: volumeId(7) })

export interface TestVolumeOptions {
  readonly seed?: number
  readonly durability?: Durability
  readonly sizeMaxBytes?: number
  readonly superBlock?: Partial<SuperBlock>
  readonly space?: SpaceGuard
  /** What the closing check may find; nothing by default. */
  readonly findings?: readonly FindingCode[]
}

/**
 * A volume on a simulated disk. Disposing of it closes it, expects no file left open, and runs the
 * full check over its files.
 */
export class TestVolume implements AsyncDisposable {
  readonly disk: MemDisk
  readonly hooks: HookDisk
  readonly clock = new SimClock()
  readonly #options: TestVolumeOptions
  #volume: Volume | undefined

  private constructor(options: TestVolumeOptions) {
    this.#options = options
    this.disk = new MemDisk(new Prng(options.seed ?? 1))
    this.hooks = new HookDisk(this.disk)
  }

  static async create(options: TestVolumeOptions = {}): Promise<TestVolume> {
    const test = new TestVolume(options)
    await test.disk.createDirectory(DIRECTORY)
    await test.create()
    return test
  }

  /** Over files that are there already, by extension; not opened yet. */
  static over(files: Readonly<Record<string, Buffer>>, options: TestVolumeOptions = {}) {
    const test = new TestVolume(options)
    for (const [extension, bytes] of Object.entries(files)) {
      test.disk.put(`${PATHS.base}.${extension}`, bytes)
    }
    return test
  }

  get volume(): Volume {
    if (this.#volume === undefined) throw new Error('the volume is not open')
    return this.#volume
  }

  get parts() {
    const space = this.#options.space ?? UNGUARDED_SPACE
    return { disk: this.hooks, clock: this.clock, logger: silentLogger, space }
  }

  async create(): Promise<Volume> {
    const superBlock = { ...PLAIN_SUPER_BLOCK, ...this.#options.superBlock }
    this.#volume = await Volume.create(this.parts, PATHS, { ...this.#volumeOptions, superBlock })
    return this.#volume
  }

  async open(): Promise<Volume> {
    this.#volume = await Volume.open(this.parts, PATHS, this.#volumeOptions)
    return this.#volume
  }

  async close(): Promise<void> {
    await this.#volume?.[Symbol.asyncDispose]()
    this.#volume = undefined
  }

  async reopen(): Promise<Volume> {
    await this.close()
    return this.open()
  }

  /** The process dies without closing anything; the machine stays up. */
  async killAndOpen(): Promise<Volume> {
    this.disk.killProcess()
    return this.open()
  }

  put(id: number, data: Uint8Array | string, attributes: NeedleAttributes = {}) {
    const input = { id: toId(id), cookie: cookieOf(id), data: Buffer.from(data), attributes }
    return this.volume.put(input, SIGNAL)
  }

  putStream(id: number, source: AsyncIterable<Uint8Array>, signal = SIGNAL): Promise<PutResult> {
    const input = { id: toId(id), cookie: cookieOf(id), attributes: {} }
    return this.volume.putStream(input, source, signal)
  }

  delete(id: number): Promise<DeleteResult> {
    return this.volume.delete({ id: toId(id), cookie: cookieOf(id) }, SIGNAL)
  }

  /** The data; undefined when there is no such needle. Warm and cold reads must agree. */
  async read(id: number, readDeleted = false): Promise<Buffer | undefined> {
    const request = { id: toId(id), cookie: cookieOf(id), readDeleted }
    try {
      const warm = this.volume.readWarm(request)
      const found = await this.volume.read(request)
      if (found instanceof LargeNeedle) {
        using large = found
        return await gather(large.read(SIGNAL))
      }
      if (warm !== undefined) expect(warm.data.equals(found.data)).toBe(true)
      return Buffer.from(found.data)
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return undefined
      throw error
    }
  }

  async attributesOf(id: number): Promise<NeedleAttributes> {
    const found = await this.volume.read({ id: toId(id), cookie: cookieOf(id) })
    if (!(found instanceof LargeNeedle)) return found.attributes()
    using large = found
    return large.attributes
  }

  /** Expects exactly these needles; undefined: none. */
  async expectNeedles(
    expected: ReadonlyMap<number, Uint8Array | string | undefined>,
  ): Promise<void> {
    for (const [id, data] of expected) {
      const found = await this.read(id)
      const isSame = data === undefined ? found === undefined : found?.equals(Buffer.from(data))
      if (!isSame) expect([id, found]).toEqual([id, data && Buffer.from(data)])
    }
    const live = [...expected.values()].filter((data) => data !== undefined)
    expect(this.volume.stats.liveNeedles).toBe(live.length)
  }

  file(extension: string): Buffer {
    return this.disk.contents(`${PATHS.base}.${extension}`)
  }

  /** Every file of the volume, by name. */
  async files(): Promise<Map<string, string>> {
    const files = new Map<string, string>()
    for (const { name } of await this.disk.list(DIRECTORY)) {
      files.set(name, this.disk.contents(`${DIRECTORY}/${name}`).toString('latin1'))
    }
    return files
  }

  async check() {
    return checkVolume(this.disk, PATHS, {}, SIGNAL)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hooks.before = undefined
    this.hooks.after = undefined
    await this.close()
    expect(this.disk.openFiles, 'files left open').toBe(0)
    const allowed = new Set(this.#options.findings)
    const { findings } = await this.check()
    expect(findings.filter(({ code }) => !allowed.has(code))).toEqual([])
  }

  get #volumeOptions(): VolumeOptions {
    const { durability = { mode: 'fsync' }, sizeMaxBytes = 2 ** 30 } = this.#options
    return { durability, sizeMaxBytes }
  }
}

export async function gather(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const gathered: Uint8Array[] = []
  for await (const piece of pieces) gathered.push(piece)
  return Buffer.concat(gathered)
}

/** The data in pieces, as a body arrives. */
export async function* inPieces(data: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes)
}

/** Expects a rejection with a `StoreError` of this code. */
export async function expectCode(run: Promise<unknown>, code: ErrorCode): Promise<void> {
  const outcome = await run.then(
    (value) => ({ value }),
    (error: unknown) => error,
  )
  if (!isStoreError(outcome, code)) expect(outcome).toMatchObject({ code })
}

/** Turns of the event loop for what runs in the background. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
}
