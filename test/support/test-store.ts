import { expect } from 'vitest'
import { type VolumeId, volumeId } from '../../src/base/ids.ts'
import { MIB } from '../../src/base/units.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { checkVolume } from '../../src/storage/check-volume.ts'
import type { DiskLocationOptions } from '../../src/storage/disk-location.ts'
import { Store } from '../../src/storage/store.ts'
import type { Volume } from '../../src/storage/volume.ts'
import { HookDisk } from './hook-disk.ts'
import { MemDisk } from './mem-disk.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'
import { PLAIN_SUPER_BLOCK, SIGNAL, toId } from './volume-model.ts'

export const STORE_OPTIONS: DiskLocationOptions = {
  durability: { mode: 'fsync' },
  volumeSizeMaxBytes: 2 ** 30,
  space: { reserveBytes: MIB, ballastBytes: 64 * 1024 },
}

/** A store on a simulated disk. Disposing of it closes it and checks every volume it serves. */
export class TestStore implements AsyncDisposable {
  readonly disk: MemDisk
  readonly hooks: HookDisk
  readonly clock = new SimClock()
  readonly #directories: readonly string[]
  readonly #options: DiskLocationOptions
  #store: Store | undefined

  constructor(
    directories: readonly string[] = ['/a'],
    options: Partial<DiskLocationOptions> & { readonly seed?: number } = {},
  ) {
    this.disk = new MemDisk(new Prng(options.seed ?? 1))
    this.hooks = new HookDisk(this.disk)
    this.#directories = directories
    this.#options = { ...STORE_OPTIONS, ...options }
  }

  get parts() {
    const { hooks: disk, clock } = this
    return { disk, clock, logger: silentLogger, random: new Prng(7) }
  }

  get store(): Store {
    if (this.#store === undefined) throw new Error('the store is not open')
    return this.#store
  }

  async open(): Promise<Store> {
    this.#store = await Store.open(this.parts, this.#directories, this.#options, SIGNAL)
    return this.#store
  }

  async close(): Promise<void> {
    await this.#store?.[Symbol.asyncDispose]()
    this.#store = undefined
  }

  /** The power goes, or the process dies: the open store is forgotten, not closed. */
  forget(): void {
    this.#store = undefined
  }

  async createVolume(id: number, collection = ''): Promise<Volume> {
    const name = { collection, volumeId: volumeId(id) }
    return (await this.store.createVolume(name, PLAIN_SUPER_BLOCK)).volume
  }

  volume(id: number): Volume {
    return this.store.get(vid(id)).volume
  }

  async put(id: number, needle: number, data: string): Promise<void> {
    const input = { id: toId(needle), cookie: 1, data: Buffer.from(data), attributes: {} }
    await this.volume(id).put(input, SIGNAL)
  }

  async read(id: number, needle: number): Promise<string> {
    const found = await this.volume(id).read({ id: toId(needle), cookie: 1 })
    return 'data' in found ? found.data.toString() : 'large'
  }

  async names(directory: string): Promise<string[]> {
    return (await this.disk.list(directory)).map((entry) => entry.name)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hooks.before = undefined
    const served = [...(this.#store?.volumes() ?? [])].map(({ volume }) => volume.paths)
    await this.close()
    expect(this.disk.openFiles, 'files or locks left open').toBe(0)
    for (const paths of served) {
      if ((await this.disk.stat(paths.dat)) === undefined) continue
      const { findings } = await checkVolume(this.disk, paths, {}, SIGNAL)
      expect(findings, paths.base).toEqual([])
    }
  }
}

export function vid(id: number): VolumeId {
  return volumeId(id)
}
