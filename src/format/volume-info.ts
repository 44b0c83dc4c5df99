import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'

export interface EcShardConfig {
  readonly dataShards: number
  readonly parityShards: number
  /** Names one run of the encoder; 64 bits of ns, as decimal digits. */
  readonly encodeTsNs: string
  /** Which code made the parity shards; absent in shards of other systems. */
  readonly codec?: string
  /** Bytes encoded at once, where the codec's parity depends on it. */
  readonly codecUnit?: number
  /** Members we do not know; written back as they were read. */
  readonly unknown?: Readonly<Record<string, unknown>>
}

/**
 * The `.vif` file beside a volume: facts that neither `.dat` nor `.idx` holds, as JSON text in the
 * protobuf manner (lowerCamelCase, 64-bit numbers as strings, absent and default mean the same).
 *
 * Source: SeaweedFS VolumeInfo message and its protojson form; `codec` and `codecUnit` are ours.
 */
export interface VolumeInfo {
  /** Not empty when the data lies in a remote store. */
  readonly files: readonly Readonly<Record<string, unknown>>[]
  readonly version: number
  /** When not empty, goes before the placement in the super block. */
  readonly replication: string
  /** Bytes of an offset in `.idx`: 4 or 5; 0 when not recorded, which means 4. */
  readonly bytesOffset: number
  readonly datFileSize: number
  readonly expireAtSec: number
  readonly readOnly: boolean
  readonly readOnlyCanDelete: boolean
  readonly ecShardConfig: EcShardConfig | undefined
  /** Members we do not know; written back as they were read. */
  readonly unknown: Readonly<Record<string, unknown>>
}

type Members = Record<string, unknown>

/** Names of earlier releases. */
const OLD_NAMES: Readonly<Record<string, string>> = {
  BytesOffset: 'bytesOffset',
  DestroyTime: 'expireAtSec',
  destroyTime: 'expireAtSec',
}

/** Deeper text than this is no volume info, and writing it back could exhaust the stack. */
const DEPTH_MAX = 16

export function emptyVolumeInfo(): VolumeInfo {
  return {
    files: [],
    version: 0,
    replication: '',
    bytesOffset: 0,
    datFileSize: 0,
    expireAtSec: 0,
    readOnly: false,
    readOnlyCanDelete: false,
    ecShardConfig: undefined,
    unknown: {},
  }
}

export function encodeVolumeInfo(info: VolumeInfo): string {
  for (const number of [info.version, info.bytesOffset, info.datFileSize, info.expireAtSec]) {
    assert(Number.isSafeInteger(number) && number >= 0, `number ${number} in a volume info`)
  }
  const members = {
    files: info.files,
    version: info.version,
    replication: info.replication,
    bytesOffset: info.bytesOffset,
    datFileSize: info.datFileSize.toString(),
    expireAtSec: info.expireAtSec.toString(),
    readOnly: info.readOnly,
    ecShardConfig: encodeEcShardConfig(info.ecShardConfig),
    readOnlyCanDelete: info.readOnlyCanDelete,
    ...info.unknown,
  }
  return `${JSON.stringify(members, undefined, 2)}\n`
}

/**
 * Undefined for an empty text, which stands for a missing file. Lenient: any order and white space,
 * members left out, snake_case and the names of old releases.
 *
 * @throws {StoreError} VOLUME_INFO_CORRUPT: no JSON object, or a member of another kind than known.
 */
export function decodeVolumeInfo(text: string): VolumeInfo | undefined {
  if (text.length > LIMITS.volumeInfoMax.value) throw corrupt(`it has ${text.length} characters`)
  if (text.trim() === '') return undefined
  const members = new MemberReader(parseObject(text), '')
  return {
    files: members.objects('files'),
    version: members.count('version'),
    replication: members.text('replication'),
    bytesOffset: members.count('bytesOffset'),
    datFileSize: members.count('datFileSize'),
    expireAtSec: members.count('expireAtSec'),
    readOnly: members.flag('readOnly'),
    readOnlyCanDelete: members.flag('readOnlyCanDelete'),
    ecShardConfig: decodeEcShardConfig(members.object('ecShardConfig')),
    unknown: members.rest(),
  }
}

function encodeEcShardConfig(config: EcShardConfig | undefined): Members | null {
  // JSON has no undefined; protojson writes an absent message as null.
  if (config === undefined) return null
  const { unknown, ...known } = config
  return { ...known, ...unknown }
}

function decodeEcShardConfig(source: Members | undefined): EcShardConfig | undefined {
  if (source === undefined) return undefined
  const members = new MemberReader(source, 'ecShardConfig.')
  const config = {
    dataShards: members.count('dataShards'),
    parityShards: members.count('parityShards'),
    encodeTsNs: members.digits('encodeTsNs'),
  }
  const codec = members.text('codec')
  const codecUnit = members.count('codecUnit')
  const unknown = members.rest()
  return {
    ...config,
    ...(codec === '' ? {} : { codec }),
    ...(codecUnit === 0 ? {} : { codecUnit }),
    ...(Object.keys(unknown).length === 0 ? {} : { unknown }),
  }
}

function parseObject(text: string): Members {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new StoreError('VOLUME_INFO_CORRUPT', 'damaged volume info: it is not JSON', { cause })
  }
  if (!isObject(parsed)) throw corrupt('it is not a JSON object')
  if (!isShallow(parsed, DEPTH_MAX)) throw corrupt(`it is nested deeper than ${DEPTH_MAX}`)
  return parsed
}

/** Hands out the members of a JSON object by their known names; `rest` is what nobody asked for. */
class MemberReader {
  readonly #members = new Map<string, unknown>()
  readonly #within: string

  constructor(source: Members, within: string) {
    this.#within = within
    for (const [name, value] of Object.entries(source)) {
      // Null is how protojson spells "not set".
      if (value !== null) this.#members.set(name, value)
    }
  }

  text(name: string): string {
    const value = this.#take(name) ?? ''
    if (typeof value !== 'string') throw this.#wrong(name, 'a string')
    return value
  }

  flag(name: string): boolean {
    const value = this.#take(name) ?? false
    if (typeof value !== 'boolean') throw this.#wrong(name, 'true or false')
    return value
  }

  /** Decimal digits, from a string or a number. */
  digits(name: string): string {
    const value = this.#take(name) ?? 0
    const isNumber = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    if (isNumber) return value.toString()
    if (typeof value !== 'string' || !/^\d{1,20}$/.test(value)) throw this.#wrong(name, 'a number')
    return value
  }

  count(name: string): number {
    const value = Number(this.digits(name))
    if (!Number.isSafeInteger(value)) throw this.#wrong(name, 'a number below 2^53')
    return value
  }

  object(name: string): Members | undefined {
    const value = this.#take(name)
    if (value !== undefined && !isObject(value)) throw this.#wrong(name, 'an object')
    return value
  }

  objects(name: string): readonly Members[] {
    const value = this.#take(name) ?? []
    if (!Array.isArray(value) || !value.every(isObject)) throw this.#wrong(name, 'objects')
    return value
  }

  rest(): Members {
    return Object.fromEntries(this.#members)
  }

  /** Under whichever spelling; when there are several, today's goes before the old ones. */
  #take(name: string): unknown {
    const spellings = [...this.#members.keys()].filter((spelling) => knownName(spelling) === name)
    const chosen = spellings.includes(name) ? name : spellings[0]
    const value = chosen === undefined ? undefined : this.#members.get(chosen)
    // All of them go: one left over would be written back beside the member it repeats.
    for (const spelling of spellings) this.#members.delete(spelling)
    return value
  }

  #wrong(name: string, wanted: string): StoreError {
    return corrupt(`${this.#within}${name} is not ${wanted}`)
  }
}

function knownName(spelling: string): string {
  const old = Object.hasOwn(OLD_NAMES, spelling) ? OLD_NAMES[spelling] : undefined
  return old ?? spelling.replace(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase())
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isShallow(value: unknown, levelsLeft: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return levelsLeft > 0 && Object.values(value).every((inner) => isShallow(inner, levelsLeft - 1))
}

function corrupt(what: string): StoreError {
  return new StoreError('VOLUME_INFO_CORRUPT', `damaged volume info: ${what}`)
}
