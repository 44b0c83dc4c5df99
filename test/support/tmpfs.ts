import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { mountIn, mountingUnsupported, run, unmountForSure } from './mounts.ts'

/** A real filesystem of a given small size, in memory: one that can be filled to the brim. */
export class Tmpfs implements AsyncDisposable {
  readonly mountPoint: string
  readonly #owned: DisposeStack

  private constructor(mountPoint: string, owned: DisposeStack) {
    this.mountPoint = mountPoint
    this.#owned = owned
  }

  /** Why it cannot be used here, or undefined when it can. */
  static supported(): string | undefined {
    return mountingUnsupported([])
  }

  static async create(options: { readonly sizeMiB: number }): Promise<Tmpfs> {
    await using opening = new DisposeStack()
    const directory = await mkdtemp(join(tmpdir(), 'hayloft-tmpfs-'))
    opening.defer(() => rm(directory, { recursive: true }))
    const size = `size=${options.sizeMiB}m`
    const mountPoint = await mountIn(directory, '-t', 'tmpfs', '-o', size, 'tmpfs')
    opening.defer(() => unmountForSure(mountPoint))
    return new Tmpfs(mountPoint, opening.move())
  }

  async resize(options: { readonly sizeMiB: number }): Promise<void> {
    await run('mount', '-o', `remount,size=${options.sizeMiB}m`, this.mountPoint)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned[Symbol.asyncDispose]()
  }
}
