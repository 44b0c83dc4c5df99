import { expect } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import type { PutOptions } from '../../src/client/client-api.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { type ChunkManifest, decodeChunkManifest } from '../../src/format/chunk-manifest.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { FakeCluster } from './client-cluster.ts'
import { CodecWatch } from './codec-watch.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

export const CODED: PutOptions = { policy: 'ec:4+2' }

const STEP_MS = 10
const STEPS_MAX = 20_000

/** A client of a cluster in memory that stores erasure-coded files. */
export class CodedFiles implements AsyncDisposable {
  readonly clock = new SimClock()
  readonly prng: Prng
  readonly cluster: FakeCluster
  readonly client: HayloftClient
  readonly urls: readonly string[]
  readonly #codec = new CodecWatch()

  constructor(servers = 6, seed = 1) {
    this.prng = new Prng(seed)
    this.cluster = new FakeCluster({ servers, volumes: 0 })
    this.cluster.isGrowing = true
    this.cluster.isOverwriting = true
    this.urls = [...this.cluster.servers.keys()]
    const { connect, master } = this.cluster
    const parts = { master, connect, clock: this.clock, random: this.prng, logger: silentLogger }
    this.client = HayloftClient.over(parts)
  }

  /** Lets time pass until the work is done; none passes while the codec works. */
  async finish<Result>(work: Promise<Result>): Promise<Result> {
    let isDone = false
    const onEnd = () => {
      isDone = true
    }
    work.then(onEnd, onEnd)
    for (let step = 0; !isDone && step < STEPS_MAX; step++) {
      await this.#codec.idle()
      await this.clock.advance(STEP_MS)
    }
    if (!isDone) throw new Error('the work does not come to an end')
    return await work
  }

  async put(data: Buffer | AsyncIterable<Buffer>, options: PutOptions = CODED): Promise<string> {
    return (await this.finish(this.client.put(data, options))).fileId
  }

  async get(fileId: string, start?: number, end?: number): Promise<Buffer> {
    const range = start === undefined ? undefined : { start, end }
    return (await this.finish(this.client.get(fileId, { range }))).data
  }

  async stream(fileId: string, start?: number, end?: number): Promise<Buffer> {
    const range = start === undefined ? undefined : { start, end }
    const gather = async (): Promise<Buffer> => {
      const pieces: Uint8Array[] = []
      for await (const piece of this.client.getStream(fileId, { range })) pieces.push(piece)
      return Buffer.concat(pieces)
    }
    return await this.finish(gather())
  }

  manifest(fileId: string): ChunkManifest {
    return decodeChunkManifest(this.needle(fileId).data)
  }

  needle(fileId: string) {
    return [...this.copies(fileId)][0] ?? expect.fail(`${fileId} is nowhere`)
  }

  *copies(fileId: string) {
    const { needleId, volumeId } = parseFileId(fileId)
    for (const server of this.cluster.servers.values()) {
      const found = server.needles.get(`${volumeId},${needleId.hi}:${needleId.lo}`)
      if (found !== undefined) yield found
    }
  }

  /** The servers of the shards of each stripe, in the order of the shards; '': not stored. */
  shardUrls(fileId: string): string[][] {
    const stripes = this.manifest(fileId).erasure?.stripes ?? []
    return stripes.map(({ shards }) =>
      shards.map(({ fileId: shard }) => {
        if (shard === undefined) return ''
        const [url = ''] = this.cluster.volumes.get(shard.volumeId)?.urls ?? []
        return url
      }),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish(this.client[Symbol.asyncDispose]())
    this.#codec[Symbol.dispose]()
    expect(this.clock.timerCount).toBe(0)
  }
}

export function* pairs<Item>(items: readonly Item[]): Generator<readonly [Item, Item]> {
  for (const [index, a] of items.entries()) for (const b of items.slice(index + 1)) yield [a, b]
}

export async function* inPieces(data: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes)
}
