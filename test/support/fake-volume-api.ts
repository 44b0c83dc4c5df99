import { crc32c } from '../../src/base/crc32c.ts'
import { formatFileId } from '../../src/base/file-id.ts'
import { volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { VolumeReport } from '../../src/net/master-api.ts'
import type {
  BatchDeleteAnswer,
  CopyProgress,
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  NeedleMetadata,
  PutAnswer,
  PutRequest,
  ReadRequest,
  TailRecord,
  VacuumProgress,
  VolumeApi,
  VolumeFilePiece,
  VolumeServerStatus,
} from '../../src/net/volume-api.ts'

/** A volume server that keeps needles in a map, and does what a test tells it instead. */
export class FakeVolume implements VolumeApi {
  readonly needles = new Map<string, { data: Buffer; metadata: NeedleMetadata }>()
  readonly calls: string[] = []
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

  async deleteVolume(): Promise<void> {
    await this.#command('delete-volume')
  }

  async volumeStatus(): Promise<VolumeReport> {
    return REPORT
  }

  async serverStatus(signal: AbortSignal): Promise<VolumeServerStatus> {
    await this.beforeCall('serverStatus', signal)
    return { node: NODE, version: '1', epoch: 3, disks: [], volumes: [REPORT] }
  }

  async *copyVolume(): AsyncGenerator<CopyProgress> {
    yield { copiedBytes: 1, totalBytes: 2, isDone: false }
    yield { copiedBytes: 2, totalBytes: 2, isDone: true }
  }

  async *readVolumeFiles(_id: number, signal: AbortSignal): AsyncGenerator<VolumeFilePiece> {
    for (let piece = 0; piece < 100; piece++) {
      await this.beforeCall('readVolumeFiles', signal)
      this.calls.push('piece')
      const data = Buffer.alloc(this.pieceBytes, piece)
      yield { extension: 'dat', offsetBytes: piece * this.pieceBytes, data }
    }
  }

  async *tailVolume(): AsyncGenerator<TailRecord> {
    yield* []
    throw new StoreError('VOLUME_NOT_FOUND', 'no such volume')
  }

  async vacuumCheck(): Promise<number> {
    return 0.25
  }

  async *vacuumVolume(): AsyncGenerator<VacuumProgress> {
    yield { phase: 'copying', copiedBytes: 1, totalBytes: 2 }
    throw new StoreError('VACUUM_UNVERIFIED', 'they differ')
  }

  async #command(name: string): Promise<void> {
    this.calls.push(name)
  }
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
}
