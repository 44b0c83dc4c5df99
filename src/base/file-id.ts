import {
  addToNeedleId,
  type Cookie,
  cookie,
  formatNeedleId,
  hex8,
  type NeedleId,
  needleId,
  parseVolumeId,
  type VolumeId,
} from './ids.ts'
import { quote, StoreError } from './store-error.ts'

/**
 * The public name of a stored file:
 *
 *     3,01637037d6        volume 3, needle 1, cookie 0x637037d6
 *     3,01637037d6_4      the same cookie, needle 1 + 4: the fifth of a block of ids
 *
 * The last 8 hex digits are the cookie, the 1 to 16 before them the needle id.
 * Source: SeaweedFS file id text.
 */
export interface FileId {
  readonly volumeId: VolumeId
  readonly needleId: NeedleId
  readonly cookie: Cookie
}

export interface NeedleKey {
  readonly needleId: NeedleId
  readonly cookie: Cookie
}

export interface FileIdPath {
  readonly fileId: FileId
  /** With its dot, like `.jpg`; empty when there is none. */
  readonly extension: string
  /** Only the longest form of path carries one. */
  readonly fileName: string | undefined
}

const COOKIE_DIGITS = 8

/** @throws {StoreError} FILE_ID_INVALID */
export function parseFileId(text: string): FileId {
  const comma = text.indexOf(',')
  if (comma < 0) throw new StoreError('FILE_ID_INVALID', `${quote(text)} has no comma`)
  return fileIdOf(text.slice(0, comma), text.slice(comma + 1))
}

export function formatFileId(fileId: FileId): string {
  return `${fileId.volumeId},${formatNeedleId(fileId.needleId)}${hex8(fileId.cookie)}`
}

/**
 * The part after the comma: needle id and cookie, and the `_N` suffix that counts up the id.
 *
 * @throws {StoreError} FILE_ID_INVALID
 */
export function parseNeedleKey(text: string): NeedleKey {
  if (!/^[0-9a-f]{9,24}$/i.test(text)) return parseAddedKey(text)
  // The usual form, without the captures that the other one needs.
  const cookieAt = text.length - COOKIE_DIGITS
  const lowAt = Math.max(0, cookieAt - 8)
  const high = lowAt === 0 ? 0 : Number.parseInt(text.slice(0, lowAt), 16)
  return {
    needleId: needleId(high, Number.parseInt(text.slice(lowAt, cookieAt), 16)),
    cookie: cookie(Number.parseInt(text.slice(cookieAt), 16)),
  }
}

function parseAddedKey(text: string): NeedleKey {
  const match = /^([0-9a-f]{9,24})_(\d{1,15})$/i.exec(text)
  if (match === null) {
    throw new StoreError(
      'FILE_ID_INVALID',
      `${quote(text)} is not a needle id and cookie: 9 to 24 hex digits, perhaps _ and a number`,
    )
  }
  const [, digits = '', added = ''] = match
  const idDigits = digits.slice(0, -COOKIE_DIGITS).padStart(16, '0')
  const id = needleId(
    Number.parseInt(idDigits.slice(0, 8), 16),
    Number.parseInt(idDigits.slice(8), 16),
  )
  return {
    needleId: addToNeedleId(id, Number(added)),
    cookie: cookie(Number.parseInt(digits.slice(-COOKIE_DIGITS), 16)),
  }
}

/**
 * The file id in a URL path, in each form clients use. The path must not carry a query.
 *
 *     /3,01637037d6    /3,01637037d6.jpg
 *     /3/01637037d6    /3/01637037d6.jpg    /3/01637037d6/holiday.jpg
 *
 * @throws {StoreError} FILE_ID_INVALID: none of these, or a broken percent escape.
 */
export function parseFileIdPath(urlPath: string): FileIdPath {
  const [root, ...parts] = urlPath.split('/', 5).map((part) => decodePart(part, urlPath))
  const [first = '', second = '', third] = parts
  if (root !== '' || parts.length === 0 || parts.length > 3) {
    throw new StoreError('FILE_ID_INVALID', `${quote(urlPath)} is not the path of a file id`)
  }
  if (parts.length === 1) {
    const { stem, extension } = splitExtension(first)
    return { fileId: parseFileId(stem), extension, fileName: undefined }
  }
  if (third === undefined) {
    const { stem, extension } = splitExtension(second)
    return { fileId: fileIdOf(first, stem), extension, fileName: undefined }
  }
  return {
    fileId: fileIdOf(first, second),
    extension: splitExtension(third).extension,
    fileName: third === '' ? undefined : third,
  }
}

function fileIdOf(volume: string, key: string): FileId {
  return { volumeId: parseVolumeId(volume), ...parseNeedleKey(key) }
}

function splitExtension(text: string): { readonly stem: string; readonly extension: string } {
  const dot = text.lastIndexOf('.')
  if (dot < 0) return { stem: text, extension: '' }
  return { stem: text.slice(0, dot), extension: dot === text.length - 1 ? '' : text.slice(dot) }
}

function decodePart(part: string, urlPath: string): string {
  if (!part.includes('%')) return part
  try {
    return decodeURIComponent(part)
  } catch (cause) {
    throw new StoreError('FILE_ID_INVALID', `broken percent escape in ${quote(urlPath)}`, { cause })
  }
}
