import { crc32c } from '../../src/base/crc32c.ts'
import { formatFileId } from '../../src/base/file-id.ts'
import { cookie, type NeedleId, needleId, volumeId } from '../../src/base/ids.ts'
import type { ReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { VolumeReport } from '../../src/net/master-api.ts'
import type {
  BatchDeleteAnswer,
  CatchUpAnswer,
  CatchUpCommand,
  CopyProgress,
  CopyVolumeCommand,
  DeleteAnswer,
  DeleteRequest,
  DeleteVolumeCommand,
  FreezeCommand,
  HealAnswer,
  HealNeedlesCommand,
  NeedleContent,
  NeedleMetadata,
  NeedleStat,
  NeedleSummary,
  PutAnswer,
  PutRequest,
  ReadRequest,
  ScrubCommand,
  ScrubProgress,
  TailRecord,
  TailRequest,
  VacuumCommand,
  VacuumProgress,
  VolumeApi,
  VolumeCommand,
  VolumeDigest,
  VolumeExtent,
  VolumeFilePiece,
  VolumeServerStatus,
} from '../../src/net/volume-api.ts'
import { FakeShards, SHARD_REPORT } from './fake-shards.ts'

/** A volume server that keeps needles in a map, and does what a test tells it instead. */
export class FakeVolume implements VolumeApi {
  readonly shards = new FakeShards()
  readonly needles = new Map<string, { data: Buffer; metadata: NeedleMetadata }>()
  readonly calls: string[] = []
  /** Of the calls that repair, as they came. */
  readonly commands: object[] = []
  /** Awaited before every put and delete. */
  beforeWrite: (request: PutRequest | DeleteRequest) => Promise<void> = async () => {}
  /** Awaited before everything else. */
  beforeCall: (name: string, signal: AbortSignal) => Promise<void> = async () => {}
  /** Of reads, and of the files of volumes. */
  pieceBytes = 1000

  async put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    await this.beforeWrite(request)
    await this.beforeCall('put', signal)
    this.calls.push('put')
    const data = Buffer.from(request.data)
    this.needles.set(formatFileId(request.fileId), { data, metadata: request.metadata })
    return {
      checksum: crc32c(data),
      dataBytes: data.length,
      isUnchanged: false,
      isDurable: true,
    }
  }

  async putStream(): Promise<PutAnswer> {
    throw new StoreError('REQUEST_INVALID', 'no streams over gRPC')
  }

  async delete(request: DeleteRequest): Promise<DeleteAnswer> {
    await this.beforeWrite(request)
    const key = formatFileId(request.fileId)
    const freedBytes = this.needles.get(key)?.data.length ?? 0
    return { wasLive: this.needles.delete(key), freedBytes }
  }

  async batchDelete(requests: readonly DeleteRequest[]): Promise<readonly BatchDeleteAnswer[]> {
    return await Promise.all(
      requests.map(async (request) => {
        const { wasLive } = await this.delete(request)
        const error = wasLive ? undefined : ({ code: 'VOLUME_SEALED', message: 'no' } as const)
        return { fileId: request.fileId, wasLive, error }
      }),
    )
  }

  async read(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    await this.beforeCall('read', signal)
    const found = this.needles.get(formatFileId(request.fileId))
    if (found === undefined) throw new StoreError('NEEDLE_NOT_FOUND', 'no such needle')
    const { start, end } = request.range ?? { start: 0, end: found.data.length }
    if (end > found.data.length) throw new StoreError('RANGE_INVALID', 'beyond the end')
    const { pieceBytes, calls } = this
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = start; at < end; at += pieceBytes) {
        yield found.data.subarray(at, Math.min(end, at + pieceBytes))
      }
    }
    return {
      metadata: found.metadata,
      checksum: crc32c(found.data),
      dataBytes: found.data.length,
      data: pieces(),
      [Symbol.asyncDispose]: async () => {
        calls.push('read-disposed')
      },
    }
  }

  async allocateVolume(): Promise<void> {
    await this.#command('allocate')
  }

  async sealVolume(): Promise<void> {
    await this.#command('seal')
  }

  async deleteVolume(command: DeleteVolumeCommand, signal: AbortSignal): Promise<void> {
    await this.#command('delete-volume')
    await this.#repair('deleteVolume', command, signal)
  }

  async volumeStatus(): Promise<VolumeReport> {
    return REPORT
  }

  async serverStatus(signal: AbortSignal): Promise<VolumeServerStatus> {
    await this.beforeCall('serverStatus', signal)
    const shards = [SHARD_REPORT]
    return { node: NODE, version: '1', epoch: 3, disks: [], volumes: [REPORT], shards }
  }

  async *copyVolume(command: CopyVolumeCommand, signal: AbortSignal): AsyncGenerator<CopyProgress> {
    await this.#repair('copyVolume', command, signal)
    const totalBytes = 2
    const begun = { sourceExtent: undefined, directoryId: '' }
    yield { copiedBytes: 1, totalBytes, isDone: false, ...begun }
    yield { copiedBytes: 2, totalBytes, isDone: true, sourceExtent: EXTENT, directoryId: 'd' }
  }

  async *readVolumeFiles(_request: object, signal: AbortSignal): AsyncGenerator<VolumeFilePiece> {
    for (let piece = 0; piece < 100; piece++) {
      await this.beforeCall('readVolumeFiles', signal)
      this.calls.push('piece')
      const data = Buffer.alloc(this.pieceBytes, piece)
      yield { extension: 'dat', offsetBytes: piece * this.pieceBytes, data }
    }
  }

  async *tailVolume(request: TailRequest, signal: AbortSignal): AsyncGenerator<TailRecord> {
    await this.#repair('tailVolume', request, signal)
    if (request.after !== undefined) {
      yield TAIL_RECORD
      return
    }
    throw new StoreError('VOLUME_NOT_FOUND', 'no such volume')
  }

  async vacuumCheck(): Promise<number> {
    return 0.25
  }

  async *vacuumVolume(command: VacuumCommand, signal: AbortSignal): AsyncGenerator<VacuumProgress> {
    await this.#repair('vacuumVolume', command, signal)
    yield { phase: 'copying', copiedBytes: 1, totalBytes: 2 }
    throw new StoreError('VACUUM_UNVERIFIED', 'they differ')
  }

  async freezeVolume(command: FreezeCommand, signal: AbortSignal): Promise<VolumeExtent> {
    await this.#repair('freezeVolume', command, signal)
    return EXTENT
  }

  async digestVolume(id: number, signal: AbortSignal): Promise<VolumeDigest> {
    await this.#repair('digestVolume', { volumeId: id }, signal)
    return { ...EXTENT, digest: '0123456789abcdef', liveNeedles: 2 ** 40 }
  }

  async catchUpVolume(command: CatchUpCommand, signal: AbortSignal): Promise<CatchUpAnswer> {
    await this.#repair('catchUpVolume', command, signal)
    return { sourceExtent: EXTENT, recordCount: 3 }
  }

  async *listNeedles(id: number, signal: AbortSignal): AsyncGenerator<readonly NeedleSummary[]> {
    await this.#repair('listNeedles', { volumeId: id }, signal)
    yield [
      { needleId: needleId(0, 1), sizeBytes: 2 ** 31, isDeleted: false },
      { needleId: needleId(2 ** 32 - 1, 2), sizeBytes: 0, isDeleted: true },
    ]
    yield []
    yield [{ needleId: needleId(2 ** 32 - 1, 3), sizeBytes: 1, isDeleted: false }]
  }

  async statNeedles(
    id: number,
    needleIds: readonly NeedleId[],
    signal: AbortSignal,
  ): Promise<readonly NeedleStat[]> {
    await this.#repair('statNeedles', { volumeId: id, needleIds }, signal)
    return needleIds.map((asked, index) => {
      const isLive = index === 0
      return {
        needleId: asked,
        state: isLive ? 'live' : 'corrupt',
        cookie: cookie(isLive ? 0xffff_ffff : 0),
        checksum: isLive ? 0xffff_fffe : 0,
        dataBytes: isLive ? 2 ** 31 : 0,
        attributesHash: isLive ? 0xffff_fffd : 0,
        appendAtNs: isLive ? 2n ** 63n : 0n,
      }
    })
  }

  async healNeedles(
    command: HealNeedlesCommand,
    signal: AbortSignal,
  ): Promise<readonly HealAnswer[]> {
    await this.#repair('healNeedles', command, signal)
    return command.needleIds.map((asked) => ({ needleId: asked, outcome: 'healed' }))
  }

  async deleteNeedles(
    command: VolumeCommand & { readonly needleIds: readonly NeedleId[] },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#repair('deleteNeedles', command, signal)
  }

  async *scrubVolume(command: ScrubCommand, signal: AbortSignal): AsyncGenerator<ScrubProgress> {
    await this.#repair('scrubVolume', command, signal)
    const totalBytes = 2 ** 40
    const at = { datBytes: 8, compactionRevision: 5 }
    const finding = { needleId: needleId(0, 1), offsetBytes: 2 ** 35, message: 'bad' }
    const findings = [{ kind: 'needle' as const, ...finding }]
    yield { at, totalBytes, findings, isDone: false, contentDigest: '' }
    const contentDigest = 'fedcba9876543210'
    yield { at: EXTENT, totalBytes, findings: [], isDone: true, contentDigest }
  }

  async setVolumeReplication(
    command: VolumeCommand & { readonly replication: ReplicaPlacement },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#repair('setVolumeReplication', command, signal)
  }

  async #command(name: string): Promise<void> {
    this.calls.push(name)
  }

  async #repair(name: string, command: object, signal: AbortSignal): Promise<void> {
    this.commands.push(command)
    await this.beforeCall(name, signal)
  }
}

export const EXTENT: VolumeExtent = { datBytes: 2 ** 40, compactionRevision: 5 }

const TAIL_RECORD: TailRecord = {
  fileId: { volumeId: volumeId(7), needleId: needleId(1, 2), cookie: cookie(3) },
  appendAtNs: 2n ** 63n,
  isTombstone: false,
  data: Buffer.alloc(0),
  dataBytes: 9_000_000,
  checksum: 0xffff_ffff,
  metadata: { name: 'a', isCompressed: false, isChunkManifest: false },
  endBytes: 2 ** 35,
}

export const NODE = {
  url: '127.0.0.1:8080',
  publicUrl: 'files.example.org',
  grpcAddress: '127.0.0.1:18080',
  dataCenter: 'dc1',
  rack: 'r1',
}

export const REPORT: VolumeReport = {
  volumeId: volumeId(7),
  collection: 'pictures',
  replication: { otherDataCenters: 0, otherRacks: 1, otherServers: 0 },
  ttl: TTL_NONE,
  state: 'writable',
  reason: '',
  liveNeedles: 1,
  liveBytes: 2,
  garbageBytes: 3,
  datBytes: 4,
  compactionRevision: 5,
  directoryId: 'd',
  modifiedAtS: 6,
  digest: '0123456789abcdef',
  requestsPerS: 1.5,
}
