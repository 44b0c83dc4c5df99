import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { type Disk, type DiskFile, writeFully } from '../runtime/disk.ts'

/** A body that arrived piece by piece: in memory while small, in a file beside the volume after. */
export class SpooledBody implements AsyncDisposable {
  readonly data: Buffer
  readonly file: DiskFile | undefined
  readonly dataBytes: number
  readonly checksum: number
  readonly #remove: () => Promise<void>

  private constructor(
    body: { data: Buffer; file: DiskFile | undefined; dataBytes: number; checksum: number },
    remove: () => Promise<void>,
  ) {
    this.data = body.data
    this.file = body.file
    this.dataBytes = body.dataBytes
    this.checksum = body.checksum
    this.#remove = remove
  }

  /**
   * Takes in a whole body, so that a slow sender never holds up the writer of the volume. A body
   * above `batchBytesMax` goes to `path`, unsynced: it is copied and removed within the request.
   *
   * @throws {StoreError} NEEDLE_TOO_LARGE, CANCELLED, DISK_FULL; nothing is left behind.
   */
  static async collect(
    source: AsyncIterable<Uint8Array>,
    target: { readonly disk: Disk; readonly path: string },
    signal: AbortSignal,
  ): Promise<SpooledBody> {
    const { disk, path } = target
    let file: DiskFile | undefined
    const remove = async (): Promise<void> => {
      if (file === undefined) return
      await file.close()
      await disk.unlink(path)
    }
    let held: Uint8Array[] = []
    let dataBytes = 0
    let fileBytes = 0
    let checksum = 0
    const flush = async (): Promise<void> => {
      // A crash may have left a file of this name; of its bytes only those written now are read.
      file ??= await disk.open(path, 'create')
      await writeFully(file, held, fileBytes)
      fileBytes = dataBytes
      held = []
    }
    try {
      for await (const piece of source) {
        if (signal.aborted) throw new StoreError('CANCELLED', 'the upload was cancelled')
        dataBytes += piece.length
        if (dataBytes > LIMITS.needleDataMax.value) throw tooLarge()
        checksum = crc32c(piece, checksum)
        held.push(piece)
        const limit = file === undefined ? LIMITS.batchBytesMax.value : LIMITS.streamPiece.value
        if (dataBytes - fileBytes > limit) await flush()
      }
      if (file !== undefined && held.length > 0) await flush()
    } catch (error) {
      await remove()
      throw error
    }
    const data = Buffer.concat(held)
    return new SpooledBody({ data, file, dataBytes, checksum }, remove)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#remove()
  }
}

function tooLarge(): StoreError {
  return new StoreError(
    'NEEDLE_TOO_LARGE',
    `the body is over the limit of ${LIMITS.needleDataMax.value} bytes`,
  )
}
