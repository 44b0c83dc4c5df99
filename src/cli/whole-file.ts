import { randomUUID } from 'node:crypto'
import { type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises'
import { StoreError } from '../base/store-error.ts'
import type { CliContext } from './context.ts'
import { system } from './file-tree.ts'

/** To standard output, as fast as somebody reads it. */
export async function writePiece({ out }: CliContext, piece: Uint8Array): Promise<void> {
  if (out.isClosed || out.stream.write(piece)) return
  await new Promise<void>((resolve) => {
    const settle = (): void => {
      for (const event of ['drain', 'error', 'close']) out.stream.off(event, settle)
      resolve()
    }
    for (const event of ['drain', 'error', 'close']) out.stream.once(event, settle)
  })
}

/**
 * The file has its name when all of `data` was written, and not before.
 *
 * @throws {StoreError} TARGET_EXISTS: the file is there and may not be replaced. What `data`
 * throws.
 */
export async function writeWhole(
  path: string,
  data: AsyncIterable<Uint8Array>,
  mayOverwrite: boolean,
): Promise<void> {
  if (!mayOverwrite && (await lstat(path).catch(() => undefined)) !== undefined) {
    throw new StoreError('TARGET_EXISTS', `${path} is there; --overwrite replaces it`)
  }
  const draft = `${path}.${randomUUID()}.tmp`
  try {
    const file = await system('open', draft, () => open(draft, 'wx'))
    await fill(file, draft, data)
    // A link is never made over a file that came meanwhile; a rename would replace it.
    await system('link', path, () => (mayOverwrite ? rename : link)(draft, path))
  } finally {
    await rm(draft, { force: true })
  }
}

async function fill(
  file: FileHandle,
  path: string,
  data: AsyncIterable<Uint8Array>,
): Promise<void> {
  try {
    for await (const piece of data) await system('write', path, () => file.writeFile(piece))
  } finally {
    await file.close()
  }
}
