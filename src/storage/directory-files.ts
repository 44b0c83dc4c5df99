import { join } from 'node:path'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { parseVolumeFileName, type VolumeName, volumeBaseName } from '../format/file-names.ts'
import { type DirectoryEntry, type Disk, readFile, replaceFile } from '../runtime/disk.ts'
import type { Random } from '../runtime/random.ts'

export const DIRECTORY_ID_FILE = 'vol_dir.uuid'

/** @throws {StoreError} DIRECTORY_UNUSABLE. */
export async function makeDirectory(disk: Disk, directory: string): Promise<void> {
  try {
    await disk.createDirectory(directory)
  } catch (error) {
    if (!isStoreError(error, 'TARGET_EXISTS')) throw error
    const why = `${directory} is a file, not a directory`
    throw new StoreError('DIRECTORY_UNUSABLE', why, { cause: error })
  }
}

interface SortedFiles {
  readonly volumes: readonly VolumeName[]
  /** Drafts and spools of an interrupted run. */
  readonly leftovers: readonly string[]
  readonly unusable: readonly { readonly name: string; readonly error: StoreError }[]
}

/** A marker says that the data is there under another name. */
const HAS_DATA = new Set(['dat', 'cpc', 'rpc'])
const LEFTOVER = /^(.+)\.(?:(?:dat|idx|sum|vif|cpc|cps|failed|note)\.tmp|spool-\d+)$/

/** What there is in a directory of volumes, by what is to be done with it. */
export function sortFiles(entries: readonly DirectoryEntry[]): SortedFiles {
  const volumes = new Map<string, VolumeName & { hasData: boolean; isUnfinished: boolean }>()
  const leftovers: string[] = []
  const unusable: { name: string; error: StoreError }[] = []
  for (const { name, isDirectory } of entries) {
    if (isDirectory) continue
    const base = LEFTOVER.exec(name)?.[1]
    if (base !== undefined && parseVolumeFileName(`${base}.dat`) !== undefined) {
      leftovers.push(name)
      continue
    }
    const parsed = parseVolumeFileName(name)
    if (parsed !== undefined) {
      const key = volumeBaseName(parsed)
      const volume = volumes.get(key) ?? { ...parsed, hasData: false, isUnfinished: false }
      volume.hasData ||= HAS_DATA.has(parsed.extension)
      volume.isUnfinished ||= parsed.extension === 'note'
      volumes.set(key, volume)
    } else if (/\.(?:dat|idx)$/.test(name)) {
      const error = new StoreError('NOT_A_VOLUME', `${name} is not named like a volume`)
      unusable.push({ name, error })
    }
  }
  const usable: VolumeName[] = []
  for (const [key, volume] of volumes) {
    if (volume.isUnfinished) {
      const error = new StoreError('NOT_A_VOLUME', `${key}.note marks an unfinished copy`)
      unusable.push({ name: `${key}.dat`, error })
    } else if (volume.hasData) usable.push(volume)
  }
  return { volumes: usable, leftovers, unusable }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const DIRECTORY_ID_MAX_BYTES = 256

/** The id of a directory, which is given one if it has none. */
export async function readDirectoryId(
  parts: { readonly disk: Disk; readonly random: Random },
  directory: string,
): Promise<string> {
  const { disk, random } = parts
  const path = join(directory, DIRECTORY_ID_FILE)
  if ((await disk.stat(path)) !== undefined) {
    const text = (await readFile(disk, path, DIRECTORY_ID_MAX_BYTES)).toString('utf8').trim()
    if (UUID.test(text)) return text.toLowerCase()
  }
  const directoryId = randomUuid(random)
  await replaceFile(disk, path, Buffer.from(`${directoryId}\n`))
  return directoryId
}

/** Version 4. From the given source, so that a simulation with a seed replays. */
function randomUuid(random: Random): string {
  const bytes = Buffer.alloc(16)
  for (let at = 0; at < 16; at += 4) bytes.writeUInt32BE(random.u32(), at)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)]
  return [...parts, hex.slice(20)].join('-')
}
