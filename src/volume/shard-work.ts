import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { ShardSink } from '../erasure/encode-shards.ts'
import { rebuildShards, type ShardSource } from '../erasure/rebuild-shards.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  CopyShardsCommand,
  HealShardsCommand,
  RebuildShardsCommand,
  ShardBlock,
  ShardProgress,
} from '../net/shard-api.ts'
import type { ShardPlace } from '../net/stripe-facts.ts'
import type { VolumeApi } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { ShardRunName } from '../storage/shard-paths.ts'
import { geometryOf, openCodec, type ShardRun } from '../storage/shard-run.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { ShardSetFiles } from '../storage/shard-set-files.ts'
import type { Store } from '../storage/store.ts'
import { Rest } from './rest.ts'
import { fetchSetFiles, filesOf } from './shard-files.ts'
import { ShardPlaces } from './shard-places.ts'
import {
  localSource,
  type Peer,
  type RunName,
  remoteSource,
  StreamedSource,
  setWithShard,
} from './shard-sources.ts'

export interface ShardWorkParts {
  readonly store: Store
  readonly clock: Clock
  readonly ownUrl: () => string
  /** @throws {StoreError} REQUEST_INVALID: there are no other servers, or it is this one. */
  readonly peerAt: (location: NodeLocation) => VolumeApi
}

type Report = (progress: ShardProgress) => void

/** Brings shards here: from other servers, or made from those that are there. */
export class ShardWork {
  readonly #parts: ShardWorkParts

  constructor(parts: ShardWorkParts) {
    this.#parts = parts
  }

  async copy(command: CopyShardsCommand, report: Report, signal: AbortSignal): Promise<void> {
    const { store } = this.#parts
    const { politeness, source, volumeId, runId } = command
    const rest = new Rest(this.#parts, politeness, signal)
    const missing = this.#missing(command, command.shards)
    const peer: Peer = () => this.#parts.peerAt(source).shards
    const files = await this.filesFor(command, missing.length === 0 ? [] : [peer], signal)
    const { shardBytes } = geometryOf(files.run)
    const places = new ShardPlaces(store, files, shardBytes)
    const tally = new ShardTally(missing.length * shardBytes, report)
    for (const shard of missing) {
      checkShard(files.run, shard)
      const request = { volumeId, runId, shard, offsetBytes: 0, lengthBytes: shardBytes }
      await places.add(shard, async (sink) => {
        const pieces = peer().streamShard(request, signal)
        await writeBlocks(pieces, sink, files.checksums.blockBytes, async (bytes) => {
          tally.add(bytes)
          // The other server has as much work with it, some of it while this one rests.
          await rest.sinceLast(2)
        })
      })
    }
    tally.finish()
  }

  async rebuild(command: RebuildShardsCommand, report: Report, signal: AbortSignal): Promise<void> {
    const { store } = this.#parts
    const rest = new Rest(this.#parts, command.politeness, signal)
    const missing = this.#missing(command, command.shards)
    const files = await this.filesFor(command, this.peersOf(command.sources), signal)
    const { run, checksums } = files
    const { shardBytes } = geometryOf(run)
    const { blockBytes } = checksums
    for (const shard of missing) checkShard(run, shard)
    const tally = new ShardTally(missing.length * shardBytes, report)
    if (missing.length > 0) {
      const set = { codec: openCodec(run), shardBytes, blockBytes, checksums: checksums.shards }
      await using streams = new DisposeStack()
      const sources = this.#sources(command, command.sources, (peer, shard) =>
        streams.use(new StreamedSource(peer, { ...command, shard }, shardBytes)),
      )
      const onStrip = async (): Promise<void> => {
        tally.add(Math.min(blockBytes, shardBytes) * missing.length)
        await rest.sinceLast()
      }
      const places = new ShardPlaces(store, files, shardBytes)
      await places.addAll(missing, (sinks) =>
        rebuildShards(set, sources, sinks, { rest: onStrip }, signal),
      )
    }
    tally.finish()
  }

  async heal(command: HealShardsCommand, signal: AbortSignal): Promise<void> {
    const { blocks, sources } = command
    if (blocks.length > LIMITS.healBlocksMax.value) {
      const most = LIMITS.healBlocksMax.value
      throw new StoreError(
        'REQUEST_INVALID',
        `${blocks.length} blocks at once, not at most ${most}`,
      )
    }
    const from = this.#sources(command, sources, (peer, shard) =>
      remoteSource(peer, command, shard),
    )
    const byBlock = new Map<number, number[]>()
    for (const { shard, block } of blocks) {
      byBlock.set(block, [...(byBlock.get(block) ?? []), shard])
    }
    for (const [block, shards] of byBlock) {
      const homes = shards.map((shard) => this.#homeOf(command, { shard, block }))
      await healBlock(homes, block, from, signal)
    }
  }

  /**
   * The files beside the shards: those that are here, or those of the first peer that has them.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND; what the last of the peers failed with.
   */
  async filesFor(
    name: ShardRunName,
    peers: readonly Peer[],
    signal: AbortSignal,
  ): Promise<ShardSetFiles> {
    const [first, ...others] = this.#parts.store.shardSet(name.volumeId, name.runId)
    if (first !== undefined) return filesOf([first, ...others])
    let failure = new StoreError('VOLUME_NOT_FOUND', `run ${name.runId} is not here`)
    for (const peer of peers) {
      try {
        const { collection, volumeId, runId } = name
        return await fetchSetFiles(peer(), { collection, volumeId, runId }, signal)
      } catch (error) {
        if (!(error instanceof StoreError) || signal.aborted) throw error
        failure = error
      }
    }
    throw failure
  }

  /** Each other server once, in their order. */
  peersOf(sources: readonly ShardPlace[]): Peer[] {
    const byUrl = new Map(this.elsewhere(sources).map(({ location }) => [location.url, location]))
    return Array.from(byUrl.values(), (location) => () => this.#parts.peerAt(location).shards)
  }

  /** What can be read, the nearest first. */
  #sources(
    run: RunName,
    places: readonly ShardPlace[],
    open: (peer: Peer, shard: number) => ShardSource,
  ): ShardSource[] {
    const here = this.#parts.store
      .shardSet(run.volumeId, run.runId)
      .flatMap((set) => set.shards.map((shard) => localSource(set, shard)))
    const isHere = new Set(here.map(({ shard }) => shard))
    const others = this.elsewhere(places).filter(({ shard }) => !isHere.has(shard))
    const remote = others.map(({ shard, location }) =>
      open(() => this.#parts.peerAt(location).shards, shard),
    )
    return [...here, ...remote]
  }

  /** Those that are not on this server. */
  elsewhere(places: readonly ShardPlace[]): readonly ShardPlace[] {
    return places.filter(({ location }) => location.url !== this.#parts.ownUrl())
  }

  #missing({ volumeId, runId }: ShardRunName, shards: readonly number[]): number[] {
    const sets = this.#parts.store.shardSet(volumeId, runId)
    return [...new Set(shards)].filter((shard) => !sets.some((set) => set.has(shard)))
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND. */
  #homeOf({ volumeId, runId }: RunName, { shard }: ShardBlock): ShardHome {
    return { set: setWithShard(this.#parts.store, { volumeId, runId, shard }), shard }
  }
}

interface ShardHome {
  readonly set: ShardSet
  readonly shard: number
}

/** Made as a stripe of its own, that is one block long. */
async function healBlock(
  homes: readonly ShardHome[],
  block: number,
  sources: readonly ShardSource[],
  signal: AbortSignal,
): Promise<void> {
  const [first] = homes
  if (first === undefined) return
  const { checksums, geometry } = first.set
  const at = block * checksums.blockBytes
  if (at >= geometry.shardBytes) throw new StoreError('RANGE_INVALID', `there is no block ${block}`)
  const shardBytes = Math.min(checksums.blockBytes, geometry.shardBytes - at)
  const stripe = {
    codec: first.set.codec(),
    shardBytes,
    blockBytes: checksums.blockBytes,
    checksums: checksums.shards.map(({ shard, blockCrcs }) => ({
      shard,
      coveredBytes: shardBytes,
      blockCrcs: blockCrcs.subarray(block, block + 1),
    })),
  }
  const within = sources.map((source): ShardSource => {
    const read: ShardSource['read'] = (into, from, ending) => source.read(into, at + from, ending)
    return { shard: source.shard, read }
  })
  const sinks = new Map(
    homes.map(({ set, shard }): [number, ShardSink] => {
      return [shard, { write: (bytes) => set.replaceBlock(shard, block, bytes) }]
    }),
  )
  await rebuildShards(stripe, within, sinks, {}, signal)
}

/** Hands over a shard block by block: the pieces it comes in are somebody else's memory. */
async function writeBlocks(
  pieces: AsyncIterable<Uint8Array>,
  sink: ShardSink,
  blockBytes: number,
  onBlock: (bytes: number) => Promise<void>,
): Promise<void> {
  const blocks = [Buffer.allocUnsafeSlow(blockBytes), Buffer.allocUnsafeSlow(blockBytes)]
  let filled = 0
  let count = 0
  let writing = Promise.resolve()
  const flush = async (): Promise<void> => {
    const block = blocks[count++ % 2]
    assert(block !== undefined, 'two blocks take turns')
    const bytes = block.subarray(0, filled)
    filled = 0
    await writing
    writing = sink.write(bytes)
    writing.catch(() => 'it is awaited before the next one')
    await onBlock(bytes.length)
  }
  try {
    for await (const piece of pieces) {
      for (let done = 0; done < piece.length; ) {
        const part = piece.subarray(done, done + blockBytes - filled)
        blocks[count % 2]?.set(part, filled)
        filled += part.length
        done += part.length
        if (filled === blockBytes) await flush()
      }
    }
    if (filled > 0) await flush()
  } finally {
    await writing
  }
}

/** What is done of some work on shards, as it is told. */
export class ShardTally {
  readonly #totalBytes: number
  readonly #report: Report
  #doneBytes = 0

  constructor(totalBytes: number, report: Report) {
    this.#totalBytes = totalBytes
    this.#report = report
    this.add(0)
  }

  add(bytes: number): void {
    this.#doneBytes = Math.min(this.#totalBytes, this.#doneBytes + bytes)
    this.#report({ doneBytes: this.#doneBytes, totalBytes: this.#totalBytes, isDone: false })
  }

  finish(): void {
    this.#report({ doneBytes: this.#totalBytes, totalBytes: this.#totalBytes, isDone: true })
  }
}

/** @throws {StoreError} REQUEST_INVALID. */
function checkShard({ dataShards, parityShards }: ShardRun, shard: number): void {
  if (Number.isInteger(shard) && shard >= 0 && shard < dataShards + parityShards) return
  throw new StoreError(
    'REQUEST_INVALID',
    `there is no shard ${shard} of ${dataShards}+${parityShards}`,
  )
}
