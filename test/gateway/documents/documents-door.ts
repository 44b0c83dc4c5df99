import { request as httpRequest } from 'node:http'
import { parseFileId } from '../../../src/base/file-id.ts'
import { HayloftClient } from '../../../src/client/hayloft-client.ts'
import type { DocumentPhase } from '../../../src/gateway/documents/document-files.ts'
import { documentRoutes } from '../../../src/gateway/documents/document-routes.ts'
import {
  CODED_DOCUMENTS,
  type DocumentsOptions,
  readDocumentsConfig,
} from '../../../src/gateway/documents/documents-config.ts'
import { DoorBuckets } from '../../../src/gateway/door-buckets.ts'
import type { DoorParts } from '../../../src/gateway/door-parts.ts'
import { GatewaySession } from '../../../src/gateway/gateway-session.ts'
import { RestGateway } from '../../../src/gateway/rest/rest-gateway.ts'
import type { ObjectVersion } from '../../../src/namespace/object-version.ts'
import type { AssignRequest, MasterApi, VolumeLocations } from '../../../src/net/master-api.ts'
import { DisposeStack } from '../../../src/runtime/dispose-stack.ts'
import { FakeCluster } from '../../support/client-cluster.ts'
import { FakeJobs } from '../../support/fake-jobs-api.ts'
import { never, TestNamespace, WatchedStore } from '../../support/test-namespace.ts'
import { type Answer, answerTo, loggerInto } from '../objects/objects-door.ts'

export interface DocumentsDoorOptions {
  /** 6 unless given. */
  readonly servers?: number
  readonly config?: DocumentsOptions
}

export interface WriteTerms {
  readonly strategy?: string
  readonly hotOnly?: boolean | string
  readonly headers?: Readonly<Record<string, string>>
  /** Which gateway: the first unless given. */
  readonly at?: number
}

interface Gateway {
  readonly rest: RestGateway
  readonly parts: DoorParts
}

const STEP_MS = 10

/** Documents over REST, above a cluster in memory. */
export class DocumentsDoor implements AsyncDisposable {
  readonly cluster: FakeCluster
  readonly names = new TestNamespace(new WatchedStore())
  readonly logged: string[] = []
  readonly gateways: Gateway[] = []
  readonly phases: DocumentPhase[] = []
  /** Awaited at each phase of the first gateway. */
  onPhase: (phase: DocumentPhase) => Promise<void> = async () => {}
  readonly #collections = new Map<number, string>()
  readonly #closing = new AbortController()
  readonly #owned = new DisposeStack()

  private constructor(servers: number) {
    this.cluster = new FakeCluster({ servers, volumes: 0 })
    this.cluster.isGrowing = true
  }

  static async open({ config, servers = 6 }: DocumentsDoorOptions = {}): Promise<DocumentsDoor> {
    const door = new DocumentsDoor(servers)
    await door.addGateway(config)
    return door
  }

  /** Another gateway of the same cluster; its index. */
  async addGateway(options: DocumentsOptions = {}): Promise<number> {
    await using opening = new DisposeStack()
    const logger = loggerInto(this.logged)
    const { clock, namespace, random } = this.names
    const { connect } = this.cluster
    const master = this.#master()
    const session = opening.use(new GatewaySession({ namespace, clock, random, logger }))
    const client = opening.use(HayloftClient.over({ master, connect, clock, random, logger }))
    const users = { get: async () => ({ canonicalId: 'o' }) as never }
    const shared = { master, namespace, client, session, clock, random, logger }
    const buckets = new DoorBuckets({ namespace, users })
    const { signal: closing } = this.#closing
    const parts: DoorParts = { ...shared, buckets, jobs: new FakeJobs(), closing }
    const isFirst = this.gateways.length === 0
    const onPhase = async (phase: DocumentPhase) => {
      this.phases.push(phase)
      await this.onPhase(phase)
    }
    const served = isFirst ? { ...parts, onPhase } : parts
    const plugins = [documentRoutes(served, readDocumentsConfig(options))]
    const place = { host: '127.0.0.1', port: 0, plugins }
    const rest = opening.use(await RestGateway.open({ clock, logger }, place))
    const moved = opening.move()
    this.#owned.defer(() => moved[Symbol.asyncDispose]())
    this.gateways.push({ rest, parts })
    return this.gateways.length - 1
  }

  get parts(): DoorParts {
    const [first] = this.gateways
    if (first === undefined) throw new Error('not open')
    return first.parts
  }

  async ask(
    method: string,
    path: string,
    request: {
      readonly body?: string | Uint8Array
      readonly headers?: Readonly<Record<string, string>>
      readonly isChunked?: boolean
    } = {},
    at = 0,
  ): Promise<Answer> {
    const { hostname, port } = new URL(this.gateways[at]?.rest.url ?? '')
    const { body, headers, isChunked } = request
    const sent = httpRequest({ hostname, port, method, path, headers, agent: false })
    if (isChunked === true && body !== undefined) sent.write(body)
    sent.end(isChunked === true ? undefined : body)
    return await answerTo(sent)
  }

  async write(key: string, body: unknown, terms: WriteTerms = {}): Promise<Answer> {
    const { at, headers, hotOnly, strategy } = terms
    const query = new URLSearchParams({ key })
    if (strategy !== undefined) query.set('strategy', strategy)
    if (hotOnly !== undefined) query.set('hot_only', String(hotOnly))
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const type = { 'content-type': 'application/json', ...headers }
    return await this.ask('POST', `/write?${query}`, { body: text, headers: type }, at)
  }

  async read(key: string, at = 0): Promise<Answer> {
    return await this.ask('GET', `/read/${encodeURIComponent(key)}`, {}, at)
  }

  async delete(key: string): Promise<Answer> {
    return await this.ask('DELETE', `/delete/${encodeURIComponent(key)}`)
  }

  /** Lets time pass until the work is done; requests take real time beside it. */
  async finish<Result>(work: Promise<Result>): Promise<Result> {
    let isDone = false
    const onEnd = () => {
      isDone = true
    }
    work.then(onEnd, onEnd)
    while (!isDone) {
      await this.names.clock.advance(STEP_MS)
      await new Promise(setImmediate)
    }
    return await work
  }

  /** The row of a document. */
  async version(key: string): Promise<ObjectVersion | undefined> {
    const bucket = await this.parts.buckets.get('documents', never)
    return await this.parts.namespace.findObject({ bucket, key }, never)
  }

  /** Needles that are not those of files which are about to be deleted, nor behind such files. */
  async leftNeedles(): Promise<number> {
    const gone = new Set<string>()
    for (const fileId of await this.names.store.dropped()) {
      gone.add(needleOf(fileId))
      const shards = await this.parts.client.shardsOf(fileId).catch(() => undefined)
      for (const shard of shards?.fileIds ?? []) gone.add(needleOf(shard))
    }
    return [...this.cluster.liveNeedles().keys()].filter((id) => !gone.has(id)).length
  }

  /** When deletes in the background have ended. */
  async leftNeedlesSoon(): Promise<number> {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    return await this.leftNeedles()
  }

  async intents(): Promise<number> {
    const page = await this.parts.namespace.listIntents({ after: '', limit: 100 }, never)
    return page.intents.length
  }

  async dirtyKeys(): Promise<readonly string[]> {
    const page = await this.parts.namespace.listDirty({ after: '', limit: 100 }, never)
    return page.objects.map(({ key }) => key)
  }

  collectionOf(volumeId: number): string | undefined {
    return this.#collections.get(volumeId)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#owned[Symbol.asyncDispose]()
  }

  /** The fake knows no collections: each volume is of the one that asked for it first. */
  #master(): MasterApi {
    const { master } = this.cluster
    const collections = this.#collections
    const shown = (volume: VolumeLocations): VolumeLocations => {
      return { ...volume, collection: collections.get(volume.volumeId) ?? '' }
    }
    const some = {
      assign: async (request: AssignRequest, signal: AbortSignal) => {
        const others = [...this.cluster.volumes.keys()].filter((volumeId) => {
          return (collections.get(volumeId) ?? request.collection) !== request.collection
        })
        const excludedVolumeIds = [...request.excludedVolumeIds, ...others]
        const lease = await master.assign({ ...request, excludedVolumeIds }, signal)
        collections.set(lease.volumeId, request.collection)
        return lease
      },
      lookup: async (...asked: Parameters<MasterApi['lookup']>) => {
        return (await master.lookup(...asked)).map(shown)
      },
      topology: async () => await master.topology(),
      watch: (signal: AbortSignal) => master.watch(signal),
    }
    return some as unknown as MasterApi
  }
}

/** As the fake has it. */
function needleOf(fileId: string): string {
  const { needleId, volumeId } = parseFileId(fileId)
  return `${volumeId},${needleId.hi}:${needleId.lo}`
}

/** Puts of needles that belong to erasure-coded files, manifests included. */
export function countPuts(door: DocumentsDoor): { coded: number; copied: number } {
  const counts = { coded: 0, copied: 0 }
  door.cluster.fault = (operation, _url, request) => {
    if (operation !== 'put') return undefined
    const { fileId } = request as { readonly fileId: { readonly volumeId: number } }
    if (door.collectionOf(fileId.volumeId) === CODED_DOCUMENTS) counts.coded++
    else counts.copied++
    return undefined
  }
  return counts
}
