import {
  type NeedleId,
  needleIdFromNumber,
  needleIdToBigInt,
  type VolumeId,
} from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type {
  CopyShardsCommand,
  DecodeProgress,
  DecodeVolumeCommand,
  EncodeProgress,
  EncodeVolumeCommand,
  HealShardsCommand,
  RebuildShardsCommand,
  ShardApi,
  ShardCommand,
  ShardProgress,
  VerifyProgress,
  VerifyShardsCommand,
} from '../../src/net/shard-api.ts'
import type { ShardPlace, ShardReport } from '../../src/net/stripe-facts.ts'
import type { ModelCluster, ModelNode } from './model-cluster.ts'
import { ModelCopy } from './model-copy.ts'
import type { ModelSession } from './model-session.ts'
import { encodeCopy, type ModelImage, ModelShardSet } from './model-shards.ts'

const PAGE_NEEDLES = 3
const HALF = { doneBytes: 1, totalBytes: 2, isDone: false }
const WHOLE = { doneBytes: 2, totalBytes: 2, isDone: true }

/** What a server of a `ModelCluster` does with shards, as a worker reaches it. */
export class ModelShardServer implements ShardApi {
  readonly #session: ModelSession
  readonly #url: string

  constructor(session: ModelSession, url: string) {
    this.#session = session
    this.#url = url
  }

  async *encodeVolume(command: EncodeVolumeCommand): AsyncGenerator<EncodeProgress> {
    const { volumeId, runId, dataShards, parityShards } = command
    yield await this.#call('encodeVolume', () => {
      this.#refuseIfFull()
      return { ...HALF, sourceExtent: undefined, directoryId: '' }
    })
    yield await this.#call('encodeVolume', () => {
      const copy = this.#copy(volumeId)
      const done = { ...WHOLE, sourceExtent: copy.extent, directoryId: '' }
      // Those that are there stay, however long ago they were made.
      if (this.#setsOf(volumeId, runId).length > 0) return done
      const image = encodeCopy(copy, { runId, dataShards, parityShards })
      const isSplit = this.#cluster.newContent() % 3 === 0
      for (let shard = 0; shard < dataShards + parityShards; shard++) {
        const where = isSplit ? shard % 2 : 0
        this.#setAt(volumeId, image, {
          directoryId: `${this.#url}/${where}`,
          journal: [],
        }).shards.add(shard)
      }
      return done
    })
  }

  async *copyShards(command: CopyShardsCommand): AsyncGenerator<ShardProgress> {
    const { volumeId, runId, source, shards } = command
    yield await this.#call('copyShards', () => {
      this.#refuseIfFull()
      this.#fetch(source.url, volumeId, runId)
      return HALF
    })
    for (const shard of shards) {
      await this.#call('copyShards', () => {
        const there = this.#fetch(source.url, volumeId, runId)
        if (this.#setsOf(volumeId, runId).some((set) => set.shards.has(shard))) return
        const from = there.find((set) => set.shards.has(shard))
        if (from === undefined) throw new StoreError('SHARD_NOT_FOUND', `${shard} is not there`)
        const set = this.#newSet(volumeId, from.image, journalOf(there))
        if (!from.hasGood(shard)) throw new StoreError('SHARD_CORRUPT', `shard ${shard} is bad`)
        set.shards.add(shard)
      })
    }
    yield WHOLE
  }

  async *rebuildShards(command: RebuildShardsCommand): AsyncGenerator<ShardProgress> {
    const { volumeId, runId, sources, shards } = command
    yield await this.#call('rebuildShards', () => {
      this.#refuseIfFull()
      this.#readAll(volumeId, runId, sources)
      return HALF
    })
    for (const shard of shards) {
      await this.#call('rebuildShards', () => {
        const { image, journal } = this.#readAll(volumeId, runId, sources)
        if (this.#setsOf(volumeId, runId).some((set) => set.shards.has(shard))) return
        this.#newSet(volumeId, image, journal).shards.add(shard)
      })
    }
    yield WHOLE
  }

  async *decodeVolume(command: DecodeVolumeCommand): AsyncGenerator<DecodeProgress> {
    const { volumeId, runId, sources, livingOnly } = command
    yield await this.#call('decodeVolume', () => {
      this.#refuseIfFull()
      return { ...HALF, directoryId: '' }
    })
    const directoryId = `${this.#url}/${this.#cluster.newContent() % 2}`
    yield await this.#call('decodeVolume', () => {
      const { image, journal } = this.#readAll(volumeId, runId, sources)
      const own = this.#setsOf(volumeId, runId)
      const deleted = own.length > 0 ? journalOf(own) : journal
      const copy = this.#emptyCopy(volumeId, directoryId)
      for (const [needle, { content, sizeBytes }] of image.needles) {
        if (livingOnly && deleted.has(needle)) continue
        copy.put(needle, content, sizeBytes, this.#stampNs())
        if (deleted.has(needle)) copy.delete(needle, this.#stampNs())
      }
      copy.state = 'sealed'
      this.#node.copies.set(volumeId, copy)
      return { ...WHOLE, directoryId }
    })
  }

  async *verifyShards(command: VerifyShardsCommand): AsyncGenerator<VerifyProgress> {
    const { volumeId, runId, shards } = command
    yield await this.#call('verifyShards', () => ({ ...HALF, badBlocks: [] }))
    yield await this.#call('verifyShards', () => {
      const sets = this.#here(volumeId, runId)
      const badBlocks = sets.flatMap((set) =>
        [...set.shards]
          .filter((shard) => shards.length === 0 || shards.includes(shard))
          .filter((shard) => {
            const isBad = set.flipped.has(shard)
            if (isBad) set.known.add(shard)
            else set.known.delete(shard)
            return isBad
          })
          .map((shard) => ({ shard, block: 0 })),
      )
      const isMissing = shards.some((shard) => !sets.some((set) => set.shards.has(shard)))
      if (isMissing) throw new StoreError('SHARD_NOT_FOUND', 'a shard is not here')
      return { ...WHOLE, badBlocks }
    })
  }

  healShards(command: HealShardsCommand): Promise<void> {
    return this.#call('healShards', () => {
      const { volumeId, runId, blocks, sources } = command
      this.#readAll(volumeId, runId, sources)
      for (const { shard } of blocks) {
        for (const set of this.#here(volumeId, runId)) {
          set.flipped.delete(shard)
          set.known.delete(shard)
        }
      }
    })
  }

  deleteShards(command: ShardCommand & { readonly shards: readonly number[] }): Promise<void> {
    return this.#call('deleteShards', () => {
      const { volumeId, runId, shards } = command
      for (const set of this.#setsOf(volumeId, runId)) {
        for (const shard of shards) {
          set.shards.delete(shard)
          set.flipped.delete(shard)
          set.known.delete(shard)
        }
      }
      const rest = this.#node.setsOf(volumeId).filter(({ shards: left }) => left.size > 0)
      this.#node.sets.set(volumeId, rest)
    })
  }

  journalDeletes(
    command: ShardCommand & { readonly needleIds: readonly NeedleId[] },
  ): Promise<void> {
    return this.#call('journalDeletes', () => {
      for (const set of this.#here(command.volumeId, command.runId)) {
        for (const id of command.needleIds) {
          set.delete(Number(needleIdToBigInt(id)), this.#cluster.clock.nowMs())
        }
      }
    })
  }

  async *listJournal(request: {
    readonly volumeId: VolumeId
    readonly runId: string
  }): AsyncGenerator<readonly NeedleId[]> {
    let after = -1
    for (;;) {
      const page = await this.#call('listJournal', () => {
        const all = [...journalOf(this.#here(request.volumeId, request.runId))]
        const rest = all.filter((needle) => needle > after).sort((a, b) => a - b)
        return rest.slice(0, PAGE_NEEDLES).map(needleIdFromNumber)
      })
      const last = page.at(-1)
      if (last === undefined) return
      yield page
      after = Number(needleIdToBigInt(last))
    }
  }

  shardStatus(volumeId: VolumeId): Promise<readonly ShardReport[]> {
    return this.#call('shardStatus', () =>
      this.#node.setsOf(volumeId).map((set) => set.report(volumeId)),
    )
  }

  readShard = unused
  readShardFiles = unused
  streamShard = unused

  get #cluster(): ModelCluster {
    return this.#session.cluster
  }

  get #node(): ModelNode {
    return this.#cluster.node(this.#url)
  }

  #stampNs(): bigint {
    return this.#cluster.clock.stampNs()
  }

  #call<Result>(name: string, run: () => Result): Promise<Result> {
    return this.#session.call(name, () => {
      if (!this.#node.isUp || this.#cluster.cuts.has(`worker>${this.#url}`)) {
        throw new StoreError('UNAVAILABLE', `${this.#url} is down`)
      }
      return run()
    })
  }

  #refuseIfFull(): void {
    if (this.#node.isFull) throw new StoreError('DISK_FULL', 'no room')
  }

  #copy(volumeId: VolumeId): ModelCopy {
    const copy = this.#node.copies.get(volumeId)
    if (copy === undefined) throw new StoreError('VOLUME_NOT_FOUND', 'not here')
    return copy
  }

  #emptyCopy(volumeId: VolumeId, directoryId: string): ModelCopy {
    const { replication, ttl } = this.#cluster.volume(volumeId)
    const nowMs = this.#cluster.clock.nowMs()
    return new ModelCopy({ volumeId, directoryId, collection: 'c', replication, ttl, nowMs })
  }

  #setsOf(volumeId: VolumeId, runId: string): readonly ModelShardSet[] {
    return this.#node.setsOf(volumeId).filter((set) => set.runId === runId)
  }

  #here(volumeId: VolumeId, runId: string): readonly ModelShardSet[] {
    const sets = this.#setsOf(volumeId, runId)
    if (sets.length === 0) throw new StoreError('VOLUME_NOT_FOUND', `run ${runId} is not here`)
    return sets
  }

  #fetch(url: string, volumeId: VolumeId, runId: string): readonly ModelShardSet[] {
    const node = this.#cluster.node(url)
    const isCut = this.#cluster.cuts.has(`${this.#url}>${url}`)
    if (!node.isUp || isCut) throw new StoreError('UNAVAILABLE', `${url} cannot be reached`)
    const sets = node.setsOf(volumeId).filter((set) => set.runId === runId)
    if (sets.length === 0) throw new StoreError('VOLUME_NOT_FOUND', `not at ${url}`)
    return sets
  }

  /** @throws {StoreError} SHARDS_LOST, UNAVAILABLE. */
  #readAll(volumeId: VolumeId, runId: string, sources: readonly ShardPlace[]) {
    const good = new Set<number>()
    let image: ModelImage | undefined
    let journal: ReadonlySet<number> = new Set()
    let failure: unknown
    for (const { shard, location } of sources) {
      try {
        const sets = this.#fetch(location.url, volumeId, runId)
        const set = sets.find((one) => one.hasGood(shard))
        if (image === undefined) {
          image = sets[0]?.image
          journal = journalOf(sets)
        }
        if (set === undefined) continue
        if (set.image !== image) throw new StoreError('SHARD_CORRUPT', 'of another run')
        good.add(shard)
      } catch (error) {
        failure ??= error
      }
    }
    if (image !== undefined && good.size >= image.dataShards) {
      return { image, journal }
    }
    throw failure ?? new StoreError('SHARDS_LOST', `only ${good.size} shards are good`)
  }

  #newSet(volumeId: VolumeId, image: ModelImage, journal: Iterable<number>): ModelShardSet {
    const [own] = this.#setsOf(volumeId, image.runId)
    if (own !== undefined && own.image !== image) {
      throw new StoreError('SHARD_CORRUPT', 'another image of the same run is here')
    }
    const where = own?.directoryId ?? `${this.#url}/${this.#cluster.newContent() % 2}`
    return this.#setAt(volumeId, image, { directoryId: where, journal })
  }

  #setAt(
    volumeId: VolumeId,
    image: ModelImage,
    facts: { readonly directoryId: string; readonly journal: Iterable<number> },
  ): ModelShardSet {
    const sets = this.#node.setsOf(volumeId)
    const isThere = (set: ModelShardSet) =>
      set.runId === image.runId && set.directoryId === facts.directoryId
    const own = sets.find(isThere)
    if (own !== undefined) return own
    const { replication } = this.#cluster.volume(volumeId)
    const nowMs = this.#cluster.clock.nowMs()
    const made = new ModelShardSet(image, { ...facts, replication, nowMs })
    this.#node.sets.set(volumeId, [...sets, made])
    return made
  }
}

function journalOf(sets: readonly ModelShardSet[]): ReadonlySet<number> {
  return new Set(sets.flatMap(({ journal }) => [...journal]))
}

function unused(): never {
  throw new StoreError('REQUEST_INVALID', 'not part of the model')
}
