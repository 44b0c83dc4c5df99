import { type NeedleId, needleIdFromNumber, volumeId } from '../../src/base/ids.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { SuperBlock } from '../../src/format/super-block.ts'
import type { Disk } from '../../src/runtime/disk.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { LargeNeedle } from '../../src/storage/needle-reader.ts'
import { Volume } from '../../src/storage/volume.ts'
import {
  type Durability,
  UNGUARDED_SPACE,
  type VolumeOptions,
} from '../../src/storage/volume-options.ts'
import { volumePaths } from '../../src/storage/volume-paths.ts'
import { PowerCut } from './fault-plan.ts'
import { MemDisk } from './mem-disk.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

/** What is stored under an id: its data, or nothing. */
type Stored = Buffer | undefined

interface Entry {
  /** The last acknowledged state. */
  acked: Stored
  /** States that writes without an answer, or with an error, may have left. */
  maybe: Stored[]
}

export const SIGNAL = new AbortController().signal
const SIZES = [0, 1, 2, 100, 511, 512, 513, 4095, 4096, 4097, 20_000]
const ID_COUNT = 8
const DIRECTORY = '/v'

export const PLAIN_SUPER_BLOCK: SuperBlock = {
  version: 3,
  replicaPlacement: { otherDataCenters: 0, otherRacks: 0, otherServers: 0 },
  ttl: TTL_NONE,
  compactionRevision: 0,
  extra: Buffer.alloc(0),
}

export interface ModelOptions {
  readonly durability?: Durability
  readonly sizeMaxBytes?: number
}

/**
 * A volume on a simulated disk beside a plain map that says what must be in it. Every operation
 * goes to both; every check compares them. A write that was not acknowledged may or may not have
 * happened; after a crash the model takes over whichever of the two it finds.
 */
export class VolumeModel {
  readonly prng: Prng
  readonly disk: MemDisk
  readonly #options: VolumeOptions
  readonly #entries = new Map<number, Entry>()
  readonly #busy = new Set<number>()
  #process = { isAlive: true }
  clock = new SimClock()
  volume: Volume | undefined
  /** Set while a fault is armed: operations may then fail, but never answer wrongly. */
  mayFail = false

  constructor(seed: number, options: ModelOptions = {}) {
    this.prng = new Prng(seed)
    this.disk = new MemDisk(new Prng(seed + 1))
    const { durability = { mode: 'fsync' }, sizeMaxBytes = 2 ** 30 } = options
    this.#options = { durability, sizeMaxBytes }
  }

  get paths() {
    return volumePaths(DIRECTORY, { collection: '', volumeId: volumeId(7) })
  }

  async create(): Promise<void> {
    await this.disk.createDirectory(DIRECTORY)
    const options = { ...this.#options, superBlock: PLAIN_SUPER_BLOCK }
    this.volume = await Volume.create(this.#parts(), this.paths, options)
  }

  async open(): Promise<void> {
    this.clock = new SimClock()
    this.volume = await Volume.open(this.#parts(), this.paths, this.#options)
  }

  async close(): Promise<void> {
    await this.volume?.[Symbol.asyncDispose]()
    this.volume = undefined
  }

  /** An id that no write is under way for. */
  pickId(): number | undefined {
    const free = Array.from({ length: ID_COUNT }, (_, index) => index + 1).filter(
      (id) => !this.#busy.has(id),
    )
    return free.length === 0 ? undefined : this.prng.pick(free)
  }

  async put(id: number, data = this.#randomData()): Promise<void> {
    await this.#write(id, data, (volume) =>
      volume.put({ id: toId(id), cookie: cookieOf(id), data, attributes: {} }, SIGNAL),
    )
  }

  /** As a copy that has the needle would; where it was deleted nothing may come of it. */
  async heal(id: number, data = this.#randomData()): Promise<void> {
    const input = { id: toId(id), cookie: cookieOf(id), data, attributes: {}, isHeal: true }
    await this.#write(id, data, (volume) => volume.put(input, SIGNAL))
  }

  /** Reads everything; the files beside `.dat` may lack what a failing disk has kept from them. */
  async scrub(): Promise<void> {
    const { volume } = this
    if (volume === undefined) return
    for await (const { findings } of volume.scrub({}, SIGNAL)) {
      const found = findings.find(({ kind }) => kind !== 'index')
      if (found !== undefined) throw new Error(`a scrub finds ${found.kind}: ${found.message}`)
    }
  }

  async putStream(id: number, data: Buffer): Promise<void> {
    async function* pieces(): AsyncGenerator<Buffer> {
      for (let at = 0; at < data.length; at += 1_000_000) yield data.subarray(at, at + 1_000_000)
    }
    await this.#write(id, data, (volume) =>
      volume.putStream({ id: toId(id), cookie: cookieOf(id), attributes: {} }, pieces(), SIGNAL),
    )
  }

  async delete(id: number): Promise<void> {
    await this.#write(id, undefined, (volume) =>
      volume.delete({ id: toId(id), cookie: cookieOf(id) }, SIGNAL),
    )
  }

  /** Compares every id with what the volume answers; `isAfterCrash` also accepts open writes. */
  async check(isAfterCrash = false): Promise<void> {
    for (const [id, entry] of this.#entries) {
      if (this.#busy.has(id)) continue
      const found = await this.#read(id)
      if (found === 'failed') continue
      const allowed = isAfterCrash ? [entry.acked, ...entry.maybe] : [entry.acked]
      if (!allowed.some((state) => isSame(state, found))) {
        throw new Error(
          `needle ${id} is ${show(found)}, expected ${allowed.map(show).join(' or ')}`,
        )
      }
      if (isAfterCrash) this.#entries.set(id, { acked: found, maybe: [] })
    }
    this.#checkCounters()
  }

  /** The process ends, the machine goes on. What the process was doing does not reach the disk. */
  kill(): void {
    this.disk.killProcess()
    this.#process.isAlive = false
  }

  async reopenAfterCrash(): Promise<void> {
    this.volume = undefined
    this.#busy.clear()
    await this.open()
    await this.check(true)
  }

  /** Runs `step`; errors are allowed only while a fault is armed. */
  async tolerate(step: Promise<unknown>): Promise<void> {
    try {
      await step
    } catch (error) {
      if (!this.mayFail || !isFault(error)) throw error
    }
  }

  async #write(id: number, next: Stored, run: (volume: Volume) => Promise<unknown>): Promise<void> {
    const { volume } = this
    if (volume === undefined) return
    const entry = this.#entries.get(id) ?? { acked: undefined, maybe: [] }
    this.#entries.set(id, entry)
    entry.maybe.push(next)
    this.#busy.add(id)
    try {
      await run(volume)
      entry.acked = next
      entry.maybe = []
    } catch (error) {
      // Only where the volume cannot know what is on disk may a failed write show up later.
      const isUndecided = error instanceof PowerCut || isStoreError(error, 'VOLUME_FAILED')
      if (!isUndecided) entry.maybe.pop()
      const refusals = ['VOLUME_SEALED', 'VOLUME_FULL', 'OVERLOADED', 'NEEDLE_NOT_FOUND'] as const
      const isRefused = isStoreError(error, ...refusals)
      if (!isRefused && !(this.mayFail && isFault(error))) throw error
    } finally {
      this.#busy.delete(id)
    }
  }

  async #read(id: number): Promise<Stored | 'failed'> {
    const { volume } = this
    if (volume === undefined) return 'failed'
    const request = { id: toId(id), cookie: cookieOf(id) }
    try {
      const found = volume.readWarm(request) ?? (await volume.read(request))
      if (!(found instanceof LargeNeedle)) return Buffer.from(found.data)
      using large = found
      const pieces: Buffer[] = []
      for await (const piece of large.read(SIGNAL)) pieces.push(piece)
      return Buffer.concat(pieces)
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return undefined
      if (this.mayFail && isFault(error)) return 'failed'
      throw error
    }
  }

  #checkCounters(): void {
    const { volume } = this
    if (volume === undefined || this.#busy.size > 0) return
    const { liveNeedles, liveBytes, garbageBytes, datBytes } = volume.stats
    const live = [...this.#entries.values()].filter((entry) => entry.acked !== undefined)
    if (liveNeedles !== live.length) {
      throw new Error(`${liveNeedles} live needles counted, ${live.length} are there`)
    }
    if (8 + liveBytes + garbageBytes !== datBytes || garbageBytes < 0) {
      throw new Error(`8 + ${liveBytes} live + ${garbageBytes} garbage is not ${datBytes}`)
    }
  }

  #randomData(): Buffer {
    return this.prng.bytes(this.prng.pick(SIZES))
  }

  #parts() {
    const process = { isAlive: true }
    this.#process = process
    const disk = diskOf(this.disk, process)
    return { disk, clock: this.clock, logger: silentLogger, space: UNGUARDED_SPACE }
  }
}

/** The disk as one process sees it: with its end the calls end. */
function diskOf(disk: Disk, process: { readonly isAlive: boolean }): Disk {
  return new Proxy(disk, {
    get(target, name) {
      if (!process.isAlive) throw new PowerCut('this process is gone')
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

export function toId(id: number): NeedleId {
  return needleIdFromNumber(id)
}

export function cookieOf(id: number): number {
  return (id * 0x9e3779b1) >>> 0
}

function isFault(error: unknown): boolean {
  if (error instanceof PowerCut) return true
  if (error instanceof AggregateError) return error.errors.every(isFault)
  // Closing failed as well, while the first error was on its way.
  if (error instanceof Error && 'suppressed' in error && 'error' in error) {
    return isFault(error.error) && isFault(error.suppressed)
  }
  return isStoreError(error, 'DISK_FULL', 'DISK_FAILED', 'VOLUME_FAILED', 'VOLUME_FULL', 'CLOSED')
}

function isSame(a: Stored, b: Stored): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b)
}

function show(state: Stored): string {
  return state === undefined ? 'absent' : `${state.length} bytes ${state.toString('hex', 0, 6)}…`
}
