import { assert } from '../base/assert.ts'
import { parseVolumeId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'

/**
 * Files of one volume share a base name: `7` in the default collection, `photos_7` in collection
 * `photos` (split at the last underscore). The extension says what each is:
 *
 *     dat idx vif sum      the volume: needles, index, info, checksums
 *     cpd cpx cps cpc      a vacuum: its .dat, its .idx, its .sum, the marker that commits it
 *     rpd rpx rps rpv rpc  a copy that replaces a bad one: its files, the marker that commits it
 *     failed               marks a volume whose sync failed; it is read-only until vacuumed
 *     removed              the .dat of a volume being removed; the next start finishes that
 *     note                 marks an unfinished copy; such a volume is not loaded
 *     sdx ldb rdb cpldb    indexes other systems keep; ignored
 *     ec00…ec31 ecx ecj ecsum   the erasure-coded form
 *
 * Source: SeaweedFS data directories; `sum` is ours.
 */
export type VolumeFileExtension =
  | 'dat'
  | 'idx'
  | 'vif'
  | 'sum'
  | 'cpd'
  | 'cpx'
  | 'cps'
  | 'cpc'
  | 'rpd'
  | 'rpx'
  | 'rps'
  | 'rpv'
  | 'rpc'
  | 'failed'
  | 'note'
  | 'sdx'
  | 'ldb'
  | 'rdb'
  | 'cpldb'
  | 'ecx'
  | 'ecj'
  | 'ecsum'
  | `ec${number}`

export interface VolumeName {
  /** Empty for the default collection. */
  readonly collection: string
  readonly volumeId: VolumeId
}

export interface VolumeFileName extends VolumeName {
  readonly extension: VolumeFileExtension
}

const FILE_NAME = /^(?:(.+)_)?([1-9]\d{0,9})\.([a-z]+\d{0,2})$/s

const EXTENSION =
  /^(?:dat|idx|vif|sum|cp[dxsc]|rp[dxsvc]|failed|note|sdx|ldb|rdb|cpldb|ec[xj]|ecsum)$/

const SHARD = /^ec(?:[0-2]\d|3[01])$/

const COLLECTION = /^[a-z0-9][a-z0-9_-]*$/

/** Undefined for a name that no volume has. Collections another system named are accepted. */
export function parseVolumeFileName(name: string): VolumeFileName | undefined {
  const match = FILE_NAME.exec(name)
  if (match === null) return undefined
  const [, collection = '', digits = '', extension = ''] = match
  if (!EXTENSION.test(extension) && !SHARD.test(extension)) return undefined
  if (/[/\0]/.test(collection)) return undefined
  if (Number(digits) > 0xffff_ffff) return undefined
  return {
    collection,
    volumeId: parseVolumeId(digits),
    extension: extension as VolumeFileExtension,
  }
}

export function volumeBaseName(volume: VolumeName): string {
  assert(!/[/\0]/.test(volume.collection), `collection ${quote(volume.collection)}`)
  return volume.collection === '' ? `${volume.volumeId}` : `${volume.collection}_${volume.volumeId}`
}

/**
 * Checks the name of a collection that is to be made; the empty one is the default collection.
 *
 * @throws {StoreError} CONFIG_INVALID: too long, or other than small letters, digits, - and _.
 */
export function parseCollection(text: string): string {
  if (text === '') return text
  if (text.length > LIMITS.collectionNameMax.value || !COLLECTION.test(text)) {
    throw new StoreError(
      'CONFIG_INVALID',
      `${quote(text)} is not a collection name: at most ${LIMITS.collectionNameMax.value} small ` +
        'letters, digits, - and _, beginning with a letter or digit',
    )
  }
  return text
}
