import {
  cookie as asCookie,
  type NeedleId,
  needleIdFromNumber,
  needleIdToBigInt,
  type VolumeId,
} from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type { VolumeReport } from '../../src/net/master-api.ts'
import type { ShardApi } from '../../src/net/shard-api.ts'
import type {
  AllocateVolumeCommand,
  CatchUpAnswer,
  CatchUpCommand,
  CopyProgress,
  CopyVolumeCommand,
  DeleteVolumeCommand,
  FreezeCommand,
  HealAnswer,
  HealNeedlesCommand,
  HealOutcome,
  NeedleStat,
  NeedleSummary,
  ScrubCommand,
  ScrubFinding,
  ScrubProgress,
  TailRecord,
  TailRequest,
  VacuumCommand,
  VacuumProgress,
  VolumeApi,
  VolumeCommand,
  VolumeDigest,
  VolumeExtent,
} from '../../src/net/volume-api.ts'
import type { ModelCluster, ModelNode } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'
import type { ModelSession } from './model-session.ts'
import { ModelShardServer } from './model-shard-server.ts'

const PAGE_NEEDLES = 5
const SCRUB_RECORDS = 4

/** A volume server of a `ModelCluster`, as a worker reaches it. */
export class ModelServer implements VolumeApi {
  readonly #session: ModelSession
  readonly #url: string

  constructor(session: ModelSession, url: string) {
    this.#session = session
    this.#url = url
  }

  volumeStatus(volumeId: VolumeId): Promise<VolumeReport> {
    return this.#call('volumeStatus', () => this.#copy(volumeId).report)
  }

  allocateVolume(command: AllocateVolumeCommand): Promise<void> {
    return this.#call('allocateVolume', () => {
      const { volumeId } = command
      this.#refuseIfThere(volumeId)
      const volume = this.#cluster.volume(volumeId)
      this.#cluster.makeCopy(volume, this.#url, this.#newDirectory(volumeId))
    })
  }

  deleteVolume(command: DeleteVolumeCommand): Promise<void> {
    return this.#call('deleteVolume', () => {
      const copy = this.#copy(command.volumeId)
      const { expected } = command
      const { datBytes, compactionRevision } = copy.extent
      const isLike =
        expected?.datBytes === datBytes && expected.compactionRevision === compactionRevision
      if (expected !== undefined && !isLike) throw new StoreError('VOLUME_CHANGED', 'written to')
      this.#node.copies.delete(command.volumeId)
    })
  }

  async *copyVolume(command: CopyVolumeCommand): AsyncGenerator<CopyProgress> {
    const { volumeId, source, replacesBad } = command
    const copy = await this.#call('copyVolume', () => {
      this.#refuseIfThere(volumeId, replacesBad)
      if (this.#node.isFull) throw new StoreError('DISK_FULL', 'no room')
      return this.#fetch(source.url, volumeId).cloneTo(this.#newDirectory(volumeId))
    })
    const sourceExtent = copy.extent
    const bytes = { copiedBytes: 1, totalBytes: 2, sourceExtent: undefined, directoryId: '' }
    yield { ...bytes, isDone: false }
    await this.#call('copyVolume', () => {
      if (copy.records.some(({ isCorrupt }) => isCorrupt) || copy.hasIndexDamage) {
        throw new StoreError('PEER_FAILED', 'the copy is not what its .sum says')
      }
      this.#refuseIfThere(volumeId, replacesBad)
      this.#node.copies.set(volumeId, copy)
    })
    const { directoryId } = copy
    yield { copiedBytes: 2, totalBytes: 2, isDone: true, sourceExtent, directoryId }
  }

  catchUpVolume(command: CatchUpCommand): Promise<CatchUpAnswer> {
    return this.#call('catchUpVolume', () => {
      const source = this.#fetch(command.source.url, command.volumeId)
      const copy = this.#copy(command.volumeId)
      const recordCount = copy.catchUp(source, command.sourceExtent)
      return { sourceExtent: source.extent, recordCount }
    })
  }

  freezeVolume(command: FreezeCommand): Promise<VolumeExtent> {
    return this.#call('freezeVolume', () => {
      const { volumeId, forMs } = command
      const node = this.#node
      const sets = node.setsOf(volumeId)
      node.frozenUntilMs.set(volumeId, forMs === 0 ? 0 : this.#nowMs + forMs)
      if (sets.length === 0 || node.copies.has(volumeId)) return this.#copy(volumeId).extent
      const datBytes = sets.reduce((sum, { journal }) => sum + journal.size, 0)
      return { datBytes, compactionRevision: 0 }
    })
  }

  digestVolume(volumeId: VolumeId): Promise<VolumeDigest> {
    return this.#call('digestVolume', () => {
      const copy = this.#copy(volumeId)
      return { ...copy.extent, digest: copy.digest(false), liveNeedles: copy.liveNeedles }
    })
  }

  async *listNeedles(volumeId: VolumeId): AsyncGenerator<readonly NeedleSummary[]> {
    let after = -1
    for (;;) {
      const page = await this.#call('listNeedles', () =>
        this.#copy(volumeId).list(after, PAGE_NEEDLES),
      )
      const last = page.at(-1)
      if (last === undefined) return
      yield page
      after = Number(needleIdToBigInt(last.needleId))
    }
  }

  statNeedles(volumeId: VolumeId, needleIds: readonly NeedleId[]): Promise<readonly NeedleStat[]> {
    return this.#call('statNeedles', () => {
      const copy = this.#copy(volumeId)
      return needleIds.map((id) => copy.stat(Number(needleIdToBigInt(id))))
    })
  }

  healNeedles(command: HealNeedlesCommand): Promise<readonly HealAnswer[]> {
    return this.#call('healNeedles', () => {
      const copy = this.#copy(command.volumeId)
      const source = this.#fetch(command.source.url, command.volumeId)
      return command.needleIds.map((needleId) => {
        return { needleId, outcome: this.#heal(copy, source, needleId) }
      })
    })
  }

  deleteNeedles(
    command: VolumeCommand & { readonly needleIds: readonly NeedleId[] },
  ): Promise<void> {
    return this.#call('deleteNeedles', () => {
      const copy = this.#copy(command.volumeId)
      for (const id of command.needleIds) copy.delete(Number(needleIdToBigInt(id)), this.#stampNs())
    })
  }

  async *scrubVolume(command: ScrubCommand): AsyncGenerator<ScrubProgress> {
    const { volumeId, from } = command
    let seen = 0
    const isFresh = from.datBytes === 0
    for (;;) {
      const progress = await this.#call('scrubVolume', () => {
        const copy = this.#copy(volumeId)
        if (!isFresh && seen === 0 && copy.revision === from.compactionRevision) {
          seen = recordsWithin(copy, from.datBytes)
        }
        const records = copy.records.slice(seen, seen + SCRUB_RECORDS)
        seen += records.length
        const isDone = seen === copy.records.length
        const findings = records.flatMap((record) => findingsOf(copy, record.needle, record))
        if (isDone && copy.hasIndexDamage) findings.push(finding('index', 0))
        const at = isDone ? copy.extent : { ...copy.extent, datBytes: bytesOf(copy, seen) }
        const contentDigest = isDone && isFresh ? copy.digest(true) : ''
        return { at, totalBytes: copy.extent.datBytes, findings, isDone, contentDigest }
      })
      yield progress
      if (progress.isDone) return
    }
  }

  async *vacuumVolume(command: VacuumCommand): AsyncGenerator<VacuumProgress> {
    await this.#call('vacuumVolume', () => this.#copy(command.volumeId))
    yield { phase: 'copying', copiedBytes: 0, totalBytes: 1 }
    await this.#call('vacuumVolume', () => {
      this.#copy(command.volumeId).vacuum(command.dropsTombstones, command.skipsDamage)
    })
    yield { phase: 'done', copiedBytes: 1, totalBytes: 1 }
  }

  setVolumeReplication(
    command: VolumeCommand & { readonly replication: ModelCopy['replication'] },
  ): Promise<void> {
    return this.#call('setVolumeReplication', () => {
      this.#copy(command.volumeId).replication = command.replication
    })
  }

  sealVolume(command: VolumeCommand): Promise<void> {
    return this.#call('sealVolume', () => {
      const copy = this.#copy(command.volumeId)
      if (copy.state === 'writable') copy.state = 'sealed'
    })
  }

  async *tailVolume({ volumeId, sinceNs, after }: TailRequest): AsyncGenerator<TailRecord> {
    const tail = await this.#call('tailVolume', () => [...this.#copy(volumeId).tail(after)])
    for (const { record, endBytes } of tail) {
      const { needle, isTombstone, appendAtNs } = record
      if (appendAtNs < sinceNs) continue
      const fileId = { volumeId, needleId: needleIdFromNumber(needle), cookie: asCookie(7) }
      const data = Buffer.alloc(0)
      const bare = { data, dataBytes: record.sizeBytes, checksum: 0, metadata: {} }
      yield { fileId, appendAtNs, isTombstone, ...bare, endBytes }
    }
  }

  get shards(): ShardApi {
    return new ModelShardServer(this.#session, this.#url)
  }

  put = unused
  putStream = unused
  delete = unused
  batchDelete = unused
  read = unused
  serverStatus = unused
  readVolumeFiles = unused
  vacuumCheck = unused

  get #cluster(): ModelCluster {
    return this.#session.cluster
  }

  get #node(): ModelNode {
    return this.#cluster.node(this.#url)
  }

  get #nowMs(): number {
    return this.#cluster.clock.nowMs()
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

  #copy(volumeId: VolumeId): ModelCopy {
    const copy = this.#node.copies.get(volumeId)
    if (copy === undefined) throw new StoreError('VOLUME_NOT_FOUND', 'not here')
    return copy
  }

  #fetch(url: string, volumeId: VolumeId): ModelCopy {
    const isCut = this.#cluster.cuts.has(`${this.#url}>${url}`)
    const node = this.#cluster.node(url)
    if (!node.isUp || isCut) throw new StoreError('UNAVAILABLE', `${url} cannot be reached`)
    const copy = node.copies.get(volumeId)
    if (copy === undefined) throw new StoreError('VOLUME_NOT_FOUND', `not at ${url}`)
    return copy
  }

  #refuseIfThere(volumeId: VolumeId, replacesBad = false): void {
    const copy = this.#node.copies.get(volumeId)
    if (copy === undefined || (replacesBad && !copy.isSound)) return
    throw new StoreError('VOLUME_EXISTS', 'it is here')
  }

  /** Like a store with two directories: which one is a matter of the room there. */
  #newDirectory(volumeId: VolumeId): string {
    const before = this.#node.copies.get(volumeId)?.directoryId
    return before ?? `${this.#url}/${this.#cluster.newContent() % 2}`
  }

  #heal(copy: ModelCopy, source: ModelCopy, id: NeedleId): HealOutcome {
    const needle = Number(needleIdToBigInt(id))
    if (copy.entry(needle)?.isDeleted === true) return 'deleted'
    const content = source.good(needle)
    if (content === undefined) return 'unavailable'
    if (copy.good(needle) === content) return 'unchanged'
    const sizeBytes = source.entry(needle)?.record.sizeBytes ?? 0
    copy.put(needle, content, sizeBytes, this.#stampNs())
    return 'healed'
  }
}

function findingsOf(
  copy: ModelCopy,
  needle: number,
  record: ModelCopy['records'][number],
): ScrubFinding[] {
  if (!record.isCorrupt) return []
  const isLive = copy.isLive(needle) && copy.entry(needle)?.record === record
  return [finding(isLive ? 'needle' : 'block', isLive ? needle : 0)]
}

function finding(kind: ScrubFinding['kind'], needle: number): ScrubFinding {
  return { kind, needleId: { hi: 0, lo: needle }, offsetBytes: 0, message: 'bad' }
}

function bytesOf(copy: ModelCopy, recordCount: number): number {
  const records = copy.records.slice(0, recordCount)
  return records.reduce((sum, { sizeBytes }) => sum + sizeBytes + 24, 8)
}

function recordsWithin(copy: ModelCopy, datBytes: number): number {
  let count = 0
  while (count < copy.records.length && bytesOf(copy, count + 1) <= datBytes) count++
  return count
}

function unused(): never {
  throw new StoreError('REQUEST_INVALID', 'not part of the model')
}
