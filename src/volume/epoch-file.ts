import { StoreError } from '../base/store-error.ts'
import { type Disk, readFile, replaceFile } from '../runtime/disk.ts'

const FILE_BYTES_MAX = 32

/**
 * The highest epoch this server has obeyed, kept over restarts: a master that was replaced is
 * refused even if it does not know yet.
 */
export class EpochFile {
  readonly #disk: Disk
  readonly #path: string
  #highest: number
  #refusal: string | undefined
  #lastWrite: Promise<void> = Promise.resolve()

  private constructor(disk: Disk, path: string, highest: number) {
    this.#disk = disk
    this.#path = path
    this.#highest = highest
  }

  /** @throws {StoreError} METADATA_CORRUPT: the file holds no number. DISK_FAILED. */
  static async open(disk: Disk, path: string): Promise<EpochFile> {
    if ((await disk.stat(path)) === undefined) return new EpochFile(disk, path, 0)
    const text = (await readFile(disk, path, FILE_BYTES_MAX)).toString('utf8').trim()
    const highest = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
    if (!Number.isSafeInteger(highest)) {
      throw new StoreError('METADATA_CORRUPT', `${path} does not hold an epoch`)
    }
    return new EpochFile(disk, path, highest)
  }

  get highest(): number {
    return this.#highest
  }

  /** From now on every command is refused with this reason; undefined: no longer. */
  refuseAll(why: string | undefined): void {
    this.#refusal = why
  }

  /**
   * To be awaited before a command of this epoch is carried out: from then on, also after a power
   * cut, lower ones are refused.
   *
   * @throws {StoreError} EPOCH_STALE: a higher one was obeyed before, or all are refused.
   * DISK_FULL, DISK_FAILED.
   */
  async obey(epoch: number): Promise<void> {
    if (this.#refusal !== undefined) throw new StoreError('EPOCH_STALE', this.#refusal)
    if (epoch === this.#highest) return
    const obey = (): Promise<void> => this.#obeyNow(epoch)
    const result = this.#lastWrite.then(obey)
    this.#lastWrite = result.catch(() => undefined)
    await result
  }

  async #obeyNow(epoch: number): Promise<void> {
    if (epoch < this.#highest) {
      const why = `epoch ${epoch} is over: ${this.#highest} was obeyed before`
      throw new StoreError('EPOCH_STALE', why)
    }
    if (epoch === this.#highest) return
    await replaceFile(this.#disk, this.#path, Buffer.from(`${epoch}\n`))
    this.#highest = epoch
  }
}
