import { StoreError } from '../../base/store-error.ts'
import type { HayloftClient } from '../../client/hayloft-client.ts'
import type { ObjectVersion, StoredPart } from '../../namespace/object-version.ts'
import { hashBytes } from '../one-shot-hash.ts'
import { restError } from '../rest/rest-error.ts'
import type { CanonicalMember } from './canonical-json.ts'
import {
  type HybridParts,
  isByFields,
  isGone,
  type KeptCold,
  keyNotFound,
} from './document-facts.ts'
import { coldFieldsOf, hotFieldsOf, joinFields, mergeFields } from './hot-and-cold.ts'

/** A version that is the present one with other hot fields. */
export interface HotUpdate {
  /** Undefined: both parts are to be written. */
  readonly kept: KeptCold | undefined
  /** `cold` is undefined when it is kept. */
  readonly parts: HybridParts
  /** The ETag of the present version: the update is one of that alone. */
  readonly ifMatch: string
}

/** Works out what a hot-only update makes of a document. */
export class HotUpdates {
  readonly #client: Pick<HayloftClient, 'get'>

  constructor(parts: { readonly client: Pick<HayloftClient, 'get'> }) {
    this.#client = parts.client
  }

  /**
   * Fields that the update does not name stay. Only a field that is hot by now, and lies among the
   * cold ones since it was not then, makes the cold part be written anew.
   *
   * @throws {StoreError} OBJECT_NOT_FOUND, REQUEST_INVALID: see `DocumentWriter.write`.
   * PRECONDITION_FAILED, with a cause: it was replaced meanwhile, or is lost. Those of
   * `HayloftClient.get`.
   */
  async prepare(
    key: string,
    current: ObjectVersion | undefined,
    update: readonly CanonicalMember[],
    mayShare: boolean,
    signal: AbortSignal,
  ): Promise<HotUpdate> {
    checkUpdatable(key, current, update)
    const { document, etag: ifMatch, parts } = current
    const [hotPart, coldPart] = parts
    if (hotPart === undefined) throw keyNotFound(key)
    const stored = hotFieldsOf(await this.#read(hotPart, signal))
    const hot = mergeFields(stored, update)
    const coldSha256 = document?.coldSha256
    if (coldPart === undefined || coldSha256 === undefined) {
      const whole = { ...joinFields({ hot, cold: [] }), coldSha256: undefined }
      return { kept: undefined, parts: whole, ifMatch }
    }
    const known = new Set(stored.map((field) => field.key))
    const isKnown = update.every((field) => known.has(field.key))
    // Its text is not needed, only that there is some.
    const open = { hot: joinFields({ hot, cold: [PLACEHOLDER] }).hot, cold: undefined, coldSha256 }
    const kept = { current, part: coldPart, sha256: coldSha256 }
    if (isKnown && mayShare) return { kept, parts: open, ifMatch }
    const coldBytes = await this.#read(coldPart, signal)
    const coldFields = coldFieldsOf(coldBytes)
    const named = new Set(update.map((field) => field.key))
    const left = coldFields.filter((field) => !named.has(field.key))
    const isColdSame = left.length === coldFields.length
    if (isColdSame && mayShare) return { kept, parts: open, ifMatch }
    const joined = joinFields({ hot, cold: left })
    const sha256 = joined.cold && hashBytes('sha256', joined.cold).toString('hex')
    return { kept: undefined, parts: { ...joined, coldSha256: sha256 }, ifMatch }
  }

  async #read({ fileId }: StoredPart, signal: AbortSignal): Promise<Buffer> {
    try {
      return (await this.#client.get(fileId, { signal })).data
    } catch (error) {
      if (!isGone(error)) throw error
      const why = `${fileId} was replaced meanwhile, or is lost`
      throw new StoreError('PRECONDITION_FAILED', why, { cause: error })
    }
  }
}

const PLACEHOLDER: CanonicalMember = { key: '', text: Buffer.from('"":0') }

function checkUpdatable(
  key: string,
  current: ObjectVersion | undefined,
  update: readonly CanonicalMember[],
): asserts current is ObjectVersion {
  if (current === undefined || current.isMarker) throw keyNotFound(key)
  const { strategy = 'replication' } = current.document ?? {}
  if (!isByFields(current)) {
    const why = `'${key}' is stored with ${strategy}: only field_hybrid has hot fields`
    throw restError(409, 'REQUEST_INVALID', why)
  }
  if (update.length > 0) return
  throw restError(422, 'REQUEST_INVALID', 'a hot-only update needs a hot field')
}
