import { existsSync } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { mountIn, mountingUnsupported, run, unmount, unmountForSure } from './mounts.ts'

const CUT_POWER = fileURLToPath(new URL('../../scripts/cut-power.py', import.meta.url))
const MIB = 2 ** 20

/**
 * A real ext4 filesystem in a file, whose power can be cut at any moment: what was not synced is
 * truly gone after `remount`. Processes with files open there must be gone before `remount`.
 */
export class LoopFilesystem implements AsyncDisposable {
  readonly mountPoint: string
  readonly #imagePath: string
  readonly #owned: DisposeStack

  private constructor(mountPoint: string, imagePath: string, owned: DisposeStack) {
    this.mountPoint = mountPoint
    this.#imagePath = imagePath
    this.#owned = owned
  }

  /** Why it cannot be used here, or undefined when it can. */
  static supported(): string | undefined {
    if (!existsSync('/dev/loop-control')) return 'needs loop devices'
    return mountingUnsupported(['mkfs.ext4', 'python3'])
  }

  /**
   * The image is sparse: it takes room in `imageDirectory` (the temporary directory unless given)
   * as it fills. When there is less room than `sizeMiB`, syncs fail once it is used up; then blocks
   * should be as large as the pages of the image, or a write that fails takes its neighbours along.
   */
  static async create(options: {
    readonly sizeMiB: number
    readonly imageDirectory?: string
    readonly blockBytes?: number
  }): Promise<LoopFilesystem> {
    await using opening = new DisposeStack()
    const directory = await mkdtemp(join(options.imageDirectory ?? tmpdir(), 'hayloft-loop-'))
    opening.defer(() => rm(directory, { recursive: true }))
    const imagePath = join(directory, 'image')
    const image = await open(imagePath, 'w')
    await image.truncate(options.sizeMiB * MIB).finally(() => image.close())
    const blocks = options.blockBytes === undefined ? [] : ['-b', String(options.blockBytes)]
    await run('mkfs.ext4', '-q', '-F', ...blocks, imagePath)

    const mountPoint = await mountIn(directory, '-o', 'loop', imagePath)
    opening.defer(() => unmountForSure(mountPoint))
    return new LoopFilesystem(mountPoint, imagePath, opening.move())
  }

  /**
   * Nothing written from now on, and nothing unsynced from before, reaches the image. The process
   * that writes there is stopped with the power: it must not see syncs that only seem to succeed.
   */
  async cutPower(writer?: { readonly pid: number }): Promise<void> {
    const parameters = writer === undefined ? [] : [String(writer.pid)]
    await run('python3', CUT_POWER, this.mountPoint, ...parameters)
  }

  /** The machine comes up again: the filesystem replays its journal. */
  async remount(): Promise<void> {
    await unmount(this.mountPoint)
    await mountIn(dirname(this.mountPoint), '-o', 'loop', this.#imagePath)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned[Symbol.asyncDispose]()
  }
}
