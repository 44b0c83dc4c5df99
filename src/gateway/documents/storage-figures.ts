import { parseFileId } from '../../base/file-id.ts'
import { LIMITS } from '../../base/limits.ts'
import type { Bucket } from '../../namespace/bucket-record.ts'
import type { NamespaceApi } from '../../namespace/namespace-api.ts'
import type { StoredPart } from '../../namespace/object-version.ts'
import type { MasterApi, TopologyNode } from '../../net/master-api.ts'
import type { DoorBuckets } from '../door-buckets.ts'
import { codedBytesOf } from './coded-size.ts'
import { CODED_DOCUMENTS, DOCUMENTS, type DocumentsConfig } from './documents-config.ts'
import type { PartPlaces } from './part-places.ts'

export interface StorageFiguresParts {
  readonly master: Pick<MasterApi, 'topology'>
  readonly namespace: Pick<NamespaceApi, 'bucketUsage' | 'listVersions'>
  readonly buckets: Pick<DoorBuckets, 'get'>
  readonly places: PartPlaces
}

export interface NodeFigures {
  /** Of needles that are not deleted, as the server reported them last. */
  readonly liveBytes: number
  /** Deleted, and still on disk. */
  readonly garbageBytes: number
}

export interface StorageFigures {
  /** Of all copies and shards of what is there now. */
  readonly totalBytes: number
  /** Deleted, or about to be, and still on disk, as servers reported it last. */
  readonly garbageBytes: number
  readonly documentCount: number
  /** Of the documents themselves. */
  readonly documentBytes: number
  readonly nodes: ReadonlyMap<string, NodeFigures>
}

const PAGE_ROWS = 1000

/** How a server is, in one word. */
export function nodeState({ isDraining, isFlapping, state }: TopologyNode): string {
  if (state === 'down') return 'unhealthy'
  if (state === 'leaving') return 'leaving'
  if (isDraining) return 'draining'
  return isFlapping ? 'flapping' : 'healthy'
}

/** What documents take on the servers. */
export class StorageFiguresReader {
  readonly #parts: StorageFiguresParts
  readonly #config: DocumentsConfig

  constructor(parts: StorageFiguresParts, config: DocumentsConfig) {
    this.#parts = parts
    this.#config = config
  }

  /**
   * The total is that of the rows of this moment: what was deleted is not in it, though its files
   * go some seconds later, and are garbage until then. With very many documents it is what servers
   * reported, which is some seconds old.
   */
  async read(signal: AbortSignal): Promise<StorageFigures> {
    const { buckets, master, namespace } = this.#parts
    const bucket = await buckets.get(DOCUMENTS, signal)
    const usage = await namespace.bucketUsage(bucket, signal)
    const { nodes } = await master.topology(signal)
    const reported = new Map(nodes.map((node) => [node.location.url, figuresOf(node)]))
    const sum = (of: (node: NodeFigures) => number): number => {
      return [...reported.values()].reduce((bytes, node) => bytes + of(node), 0)
    }
    const liveBytes = sum((node) => node.liveBytes)
    const isCounted = usage.objects <= LIMITS.documentsCounted.value
    const totalBytes = isCounted ? await this.#countBytes(bucket, signal) : liveBytes
    const shown = usage.objects === 0 ? allGarbage(reported) : reported
    return {
      totalBytes,
      garbageBytes: sum((node) => node.garbageBytes) + Math.max(0, liveBytes - totalBytes),
      documentCount: usage.objects,
      documentBytes: usage.bytes,
      nodes: shown,
    }
  }

  async #countBytes(bucket: Bucket, signal: AbortSignal): Promise<number> {
    const { namespace } = this.#parts
    const request = { bucket, prefix: '', delimiter: '', limit: PAGE_ROWS }
    let totalBytes = 0
    let after: string | undefined = ''
    let afterVersionId: string | undefined
    while (after !== undefined) {
      const page: Awaited<ReturnType<NamespaceApi['listVersions']>> = await namespace.listVersions(
        { ...request, after, afterVersionId },
        signal,
      )
      const parts = page.versions.flatMap(({ version }) => version.parts)
      totalBytes += await this.#bytesOf(parts, signal)
      after = page.next?.after
      afterVersionId = page.next?.afterVersionId
    }
    return totalBytes
  }

  async #bytesOf(parts: readonly StoredPart[], signal: AbortSignal): Promise<number> {
    const volumeIds = parts.map(({ fileId }) => parseFileId(fileId).volumeId)
    const places = await this.#parts.places.volumes(volumeIds, signal)
    let bytes = 0
    for (const [index, { sizeBytes }] of parts.entries()) {
      const place = places.get(volumeIds[index] as (typeof volumeIds)[number])
      if (place === undefined) continue
      const { scheme } = this.#config
      bytes += place.isCoded ? codedBytesOf(sizeBytes, scheme) : sizeBytes * place.urls.length
    }
    return bytes
  }
}

function figuresOf({ volumes }: TopologyNode): NodeFigures {
  let liveBytes = 0
  let garbageBytes = 0
  for (const volume of volumes) {
    if (volume.collection !== DOCUMENTS && volume.collection !== CODED_DOCUMENTS) continue
    liveBytes += volume.liveBytes
    garbageBytes += volume.garbageBytes
  }
  return { liveBytes, garbageBytes }
}

function allGarbage(reported: ReadonlyMap<string, NodeFigures>): Map<string, NodeFigures> {
  return new Map(
    Array.from(reported, ([url, { garbageBytes, liveBytes }]) => {
      return [url, { liveBytes: 0, garbageBytes: garbageBytes + liveBytes }]
    }),
  )
}
