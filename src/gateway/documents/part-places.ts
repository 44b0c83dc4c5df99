import { LRUCache } from 'lru-cache'
import { parseFileId } from '../../base/file-id.ts'
import type { VolumeId } from '../../base/ids.ts'
import type { HayloftClient } from '../../client/hayloft-client.ts'
import type { StoredPart } from '../../namespace/object-version.ts'
import type { MasterApi } from '../../net/master-api.ts'
import type { Clock } from '../../runtime/clock.ts'
import { isCodedCollection } from '../stored-bytes.ts'
import { fileShardsBy } from './coded-size.ts'

export interface PartPlacesParts {
  readonly master: Pick<MasterApi, 'lookup'>
  readonly client: Pick<HayloftClient, 'shardsOf'>
  readonly clock: Clock
}

export interface VolumePlace {
  /** Servers that hold it now. */
  readonly urls: readonly string[]
  /** Its files are erasure-coded, or were meant to be. */
  readonly isCoded: boolean
}

/** Either servers with a copy, or shards. */
export type PartPlace =
  | { readonly isCoded: false; readonly urls: readonly string[] }
  | { readonly isCoded: true; readonly shards: number }

/** Volumes move slowly, and these are figures for people. */
const FRESH_MS = 2000
const VOLUMES_KEPT = 10_000
const NOWHERE: VolumePlace = { urls: [], isCoded: false }

/** Tells where files of documents lie. */
export class PartPlaces {
  readonly #parts: PartPlacesParts
  readonly #known = new LRUCache<VolumeId, { place: VolumePlace; atMs: number }>({
    max: VOLUMES_KEPT,
  })

  constructor(parts: PartPlacesParts) {
    this.#parts = parts
  }

  /** The servers with a copy of the volume that the file lies on. */
  async urlsOf(fileId: string, signal: AbortSignal): Promise<readonly string[]> {
    const { volumeId } = parseFileId(fileId)
    return (await this.volumes([volumeId], signal)).get(volumeId)?.urls ?? []
  }

  /** @throws {StoreError} As `MasterApi.lookup` and `HayloftClient.shardsOf`. */
  async find({ fileId, sizeBytes }: StoredPart, signal: AbortSignal): Promise<PartPlace> {
    const { volumeId } = parseFileId(fileId)
    const place = (await this.volumes([volumeId], signal)).get(volumeId) ?? NOWHERE
    const found = place.isCoded ? await this.#parts.client.shardsOf(fileId, { signal }) : undefined
    if (found === undefined) return { isCoded: false, urls: place.urls }
    return { isCoded: true, shards: fileShardsBy(sizeBytes, found.erasure) }
  }

  /** @throws {StoreError} As `MasterApi.lookup`. */
  async volumes(
    volumeIds: Iterable<VolumeId>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<VolumeId, VolumePlace>> {
    const nowMs = this.#parts.clock.monotonicMs()
    const places = new Map<VolumeId, VolumePlace>()
    const unknown: VolumeId[] = []
    for (const volumeId of new Set(volumeIds)) {
      const known = this.#known.get(volumeId)
      if (known !== undefined && nowMs - known.atMs < FRESH_MS) places.set(volumeId, known.place)
      else unknown.push(volumeId)
    }
    if (unknown.length === 0) return places
    for (const found of await this.#parts.master.lookup(unknown, signal)) {
      const urls = found.locations.map(({ url }) => url)
      const place = { urls, isCoded: isCodedCollection(found.collection) }
      places.set(found.volumeId, place)
      this.#known.set(found.volumeId, { place, atMs: nowMs })
    }
    return places
  }
}
