import { LIMITS } from '../../base/limits.ts'
import { isStoreError } from '../../base/store-error.ts'
import type { ObjectVersion } from '../../namespace/object-version.ts'
import type { DoorParts } from '../door-parts.ts'
import { restError } from '../rest/rest-error.ts'
import { begun, readHeld, readVersion } from '../stored-bytes.ts'
import { documentLost, isGone, keyNotFound } from './document-facts.ts'
import { DOCUMENTS, type DocumentsConfig } from './documents-config.ts'
import { checkJsonObject } from './json-scanner.ts'

type ReaderParts = Pick<DoorParts, 'buckets' | 'namespace' | 'client'>

export interface ReadDocument {
  readonly version: ObjectVersion
  readonly body: Buffer | AsyncIterable<Uint8Array>
}

/** Reads documents: each as it was at one moment, never parts of two. */
export class DocumentReader {
  readonly #parts: ReaderParts
  readonly #config: DocumentsConfig

  constructor(parts: ReaderParts, config: DocumentsConfig) {
    this.#parts = parts
    this.#config = config
  }

  /**
   * Up to 1 MiB all of it was read when this returns; of a larger one the first piece was.
   *
   * @throws {StoreError} OBJECT_NOT_FOUND, NAME_INVALID. REQUEST_INVALID: somebody stored by S3
   * what is no JSON object. Those of `HayloftClient.get`.
   */
  async read(key: string, signal: AbortSignal): Promise<ReadDocument> {
    let goneId: string | undefined
    for (;;) {
      const version = await this.find(key, signal)
      try {
        return { version, body: await this.#open(key, version, signal) }
      } catch (error) {
        if (!isGone(error)) throw error
        // A document that was replaced meanwhile has another id now: that one is read.
        if (version.id === goneId) throw documentLost(key, error)
        goneId = version.id
      }
    }
  }

  /** @throws {StoreError} OBJECT_NOT_FOUND, NAME_INVALID. */
  async find(key: string, signal: AbortSignal): Promise<ObjectVersion> {
    const { buckets, namespace } = this.#parts
    const bucket = await buckets.get(DOCUMENTS, signal)
    const version = await namespace.findObject({ bucket, key }, signal)
    if (version === undefined || version.isMarker) throw keyNotFound(key)
    return version
  }

  async #open(
    key: string,
    version: ObjectVersion,
    signal: AbortSignal,
  ): Promise<Buffer | AsyncIterable<Uint8Array>> {
    if (version.document === undefined) return await this.#readForeign(key, version, signal)
    if (version.sizeBytes <= LIMITS.documentReadWholeBytes.value) {
      return await this.#readWhole(version, signal)
    }
    const range = { start: 0, end: version.sizeBytes }
    return await begun(readVersion(this.#parts.client, version, range, signal))
  }

  /** What another door put there is answered if it is a document. */
  async #readForeign(key: string, version: ObjectVersion, signal: AbortSignal): Promise<Buffer> {
    const { documentBytesMax } = this.#config
    try {
      if (version.sizeBytes > documentBytesMax) {
        throw restError(422, 'REQUEST_INVALID', `it has more than ${documentBytesMax} bytes`)
      }
      const bytes = await this.#readWhole(version, signal)
      checkJsonObject(bytes)
      return bytes
    } catch (error) {
      if (!isStoreError(error, 'REQUEST_INVALID')) throw error
      throw restError(422, 'REQUEST_INVALID', `'${key}' is no document: ${error.message}`)
    }
  }

  async #readWhole(version: ObjectVersion, signal: AbortSignal): Promise<Buffer> {
    const { client } = this.#parts
    const range = { start: 0, end: version.sizeBytes }
    const held = readHeld(client, version, range, Number.MAX_SAFE_INTEGER, signal)
    if (held !== undefined) return await held
    const files = version.parts.map(({ fileId }) => client.get(fileId, { signal }))
    const read = await Promise.all(files)
    return Buffer.concat(read.map(({ data }) => data))
  }
}
