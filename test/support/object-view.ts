import { readFile } from 'node:fs/promises'
import { parseFileId } from '../../src/base/file-id.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { RemoteNamespace } from '../../src/gateway/remote-namespace.ts'
import type { ObjectVersion } from '../../src/namespace/object-version.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import { RemoteMaster } from '../../src/net/remote-master.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'

const NEVER = new AbortController().signal
const TIMEOUT_MS = 10_000
const GRPC_OFFSET = 10_000
const ROWS_MAX = 1000
const SHARDS_WIDTH = 16

export interface ListedVersion {
  readonly key: string
  readonly version: ObjectVersion
}

/** What a cluster of processes has stored, seen from below all its gateways. */
export class ObjectView implements AsyncDisposable {
  readonly #client: HayloftClient
  readonly #master: RemoteMaster
  readonly #namespace: RemoteNamespace
  readonly #owned: DisposeStack

  private constructor(
    parts: { client: HayloftClient; master: RemoteMaster; namespace: RemoteNamespace },
    owned: DisposeStack,
  ) {
    this.#client = parts.client
    this.#master = parts.master
    this.#namespace = parts.namespace
    this.#owned = owned
  }

  static async open(masterAddress: string, secretFile: string): Promise<ObjectView> {
    const text = await readFile(secretFile, 'utf8')
    const secret = Buffer.from(text.trim(), 'hex')
    const [host = '', port] = masterAddress.split(':')
    const addresses = [`${host}:${Number(port) + GRPC_OFFSET}`]
    const config = { addresses, secret, tls: undefined, timeoutMs: TIMEOUT_MS }
    const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
    await using opening = new DisposeStack()
    const master = opening.use(await RemoteMaster.open(parts, config))
    const namespace = opening.use(await RemoteNamespace.open(parts, config))
    const client = opening.use(await HayloftClient.connect({ masters: masterAddress, secret }))
    return new ObjectView({ client, master, namespace }, opening.move())
  }

  /** The newest version of each key. */
  async versions(bucketName: string): Promise<ListedVersion[]> {
    const bucket = await this.#namespace.findBucket(bucketName, NEVER)
    if (bucket === undefined) return []
    const found: ListedVersion[] = []
    let after: string | undefined = ''
    while (after !== undefined) {
      const request = { bucket, prefix: '', delimiter: '', after, limit: ROWS_MAX }
      const page: Awaited<ReturnType<RemoteNamespace['listObjects']>> =
        await this.#namespace.listObjects(request, NEVER)
      found.push(...page.objects)
      after = page.next
    }
    return found
  }

  /** Of each file the servers that hold its shards, one for each; none: it is in copies. */
  async shardServers(fileIds: readonly string[]): Promise<readonly NodeLocation[][]> {
    const shards = await mapSome(fileIds, SHARDS_WIDTH, async (fileId) => {
      return (await this.#client.shardsOf(fileId))?.fileIds ?? []
    })
    const volumeIds = new Set(shards.flat().map((id) => parseFileId(id).volumeId))
    const places = await this.#master.lookup([...volumeIds], NEVER)
    const known = new Map(places.map(({ locations, volumeId }) => [volumeId, locations]))
    return shards.map((ids) => ids.flatMap((id) => known.get(parseFileId(id).volumeId) ?? []))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

/** At most `width` at a time; results in the order of the items. */
export async function mapSome<Item, Result>(
  items: readonly Item[],
  width: number,
  map: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const queue = items.entries()
  const work = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await map(item)
  }
  await Promise.all(Array.from({ length: width }, work))
  return results
}
