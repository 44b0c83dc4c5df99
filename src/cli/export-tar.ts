import { createWriteStream } from 'node:fs'
import { lstat, rm } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { type Pack, pack } from 'tar-stream'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ExportEntry, ExportTarget } from './export-volume.ts'
import { system } from './file-tree.ts'
import { readLinkTarget } from './link-target.ts'

/**
 * Writes entries into a tar archive. An entry is read twice: a tar header holds the length of what
 * follows, so the content is checked and measured before anything of it is written.
 */
export class TarTarget implements ExportTarget {
  readonly #archive: Pack = pack()
  readonly #output: Writable
  /** Undefined for standard output, which stays open. */
  readonly #path: string | undefined
  /** An archive that is not finished is removed; a device or pipe is not ours to remove. */
  readonly #isRemovable: boolean
  readonly #pumping: Promise<void>
  #failure: unknown
  #isFinished = false

  private constructor(
    output: Writable,
    target: { readonly path: string | undefined; readonly isRemovable: boolean },
  ) {
    this.#output = output
    this.#path = target.path
    this.#isRemovable = target.isRemovable
    output.on('error', (error) => {
      this.#failure ??= error
    })
    this.#pumping = this.#pump().catch((error: unknown) => {
      this.#failure ??= error
    })
  }

  /** @throws {StoreError} TARGET_EXISTS: the file is there and may not be written over. */
  static async create(
    path: string,
    options: { readonly mayOverwrite: boolean },
  ): Promise<TarTarget> {
    const output = createWriteStream(path, { flags: options.mayOverwrite ? 'w' : 'wx' })
    await system('open', path, () => settled(output, 'open'))
    const stat = await system('lstat', path, () => lstat(path))
    return new TarTarget(output, { path, isRemovable: stat.isFile() })
  }

  static over(output: Writable): TarTarget {
    return new TarTarget(output, { path: undefined, isRemovable: false })
  }

  async write(entry: ExportEntry): Promise<number> {
    const { path, kind, mode, mtimeMs } = entry
    const linkname = kind === 'symlink' ? await readLinkTarget(entry) : undefined
    const size = kind === 'file' ? await measure(entry.read()) : 0
    const header = {
      name: kind === 'directory' ? `${path}/` : path,
      mode: mode ?? (kind === 'directory' ? 0o755 : 0o644),
      mtime: new Date(mtimeMs ?? 0),
      type: kind,
      size,
      ...(linkname === undefined ? {} : { linkname: linkname.toString('utf8') }),
    }
    try {
      await this.#add(header, kind === 'file' ? entry.read() : [])
    } catch (error) {
      // Half an entry is in the archive, so the archive is lost.
      throw this.#lost(this.#failure ?? error)
    }
    return size
  }

  async finish(): Promise<readonly StoreError[]> {
    this.#archive.finalize()
    await this.#pumping
    if (this.#failure === undefined && this.#path !== undefined) {
      const closed = settled(this.#output, 'finish')
      this.#output.end()
      await closed.catch((error: unknown) => {
        this.#failure ??= error
      })
    }
    if (this.#failure !== undefined) throw this.#lost(this.#failure)
    this.#isFinished = true
    return []
  }

  /** Leaves no half archive behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isFinished) return
    this.#archive.destroy()
    await this.#pumping
    if (this.#path === undefined) return
    this.#output.destroy()
    if (this.#isRemovable) await rm(this.#path, { force: true })
  }

  async #add(
    header: Parameters<Pack['entry']>[0],
    content: AsyncIterable<Buffer> | Iterable<Buffer>,
  ): Promise<void> {
    let fail: (error: unknown) => void = () => undefined
    const added = new Promise<void>((resolve, reject) => {
      fail = reject
      const place = this.#archive.entry(header, (error) => (error ? reject(error) : resolve()))
      feed(place, content).catch(fail)
    })
    // A reader that is gone takes nothing more, so the entry would never end.
    this.#pumping.then(() => fail(this.#failure))
    await added
  }

  /** From the archive to the output, at the speed of the output. */
  async #pump(): Promise<void> {
    const output = this.#output
    for await (const piece of this.#archive as AsyncIterable<Buffer>) {
      if (this.#failure !== undefined) throw this.#failure
      if (!output.write(piece)) await settled(output, 'drain')
    }
  }

  #lost(error: unknown): StoreError {
    if (isStoreError(error)) return error
    const why = error instanceof Error ? error.message : String(error)
    return new StoreError('DISK_FAILED', `writing the archive failed: ${why}`, { cause: error })
  }
}

/** What an entry of an archive takes its content by. */
interface Place {
  write(piece: Buffer): boolean
  end(data: undefined): unknown
  once(event: 'drain' | 'close', then: () => void): unknown
}

async function feed(
  place: Place,
  content: AsyncIterable<Buffer> | Iterable<Buffer>,
): Promise<void> {
  let isClosed = false
  place.once('close', () => {
    isClosed = true
  })
  for await (const piece of content) {
    if (isClosed) return
    if (place.write(piece)) continue
    await new Promise<void>((resolve) => {
      place.once('drain', resolve)
      place.once('close', resolve)
    })
  }
  place.end(undefined)
}

async function measure(content: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0
  for await (const piece of content) bytes += piece.length
  return bytes
}

/** Waits for an event, or for the error or end that comes in its place. */
function settled(output: Writable, event: 'open' | 'drain' | 'finish'): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      forget()
      resolve()
    }
    const failed = (error?: Error): void => {
      forget()
      reject(error ?? new Error('the output was closed'))
    }
    const forget = (): void => {
      output.off(event, done)
      output.off('error', failed)
      output.off('close', failed)
    }
    output.once(event, done)
    output.once('error', failed)
    output.once('close', failed)
  })
}
