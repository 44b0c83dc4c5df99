import type { NeedleId, VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { ClusterAuth } from './cluster-auth.ts'
import { GrpcChannel } from './grpc-channel.ts'
import { mapStream } from './grpc-service.ts'
import type { NodeLocation, VolumeReport } from './master-api.ts'
import { fitsHeaders } from './needle-headers.ts'
import { NeedleHttp } from './needle-http.ts'
import { SHARDS_PROTO, VOLUME_PROTO } from './proto-loading.ts'
import { RemoteShards } from './remote-shards.ts'
import type { TlsKeys } from './tls.ts'
import type {
  AllocateVolumeCommand,
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
  NeedleStat,
  NeedleSummary,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
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
  VolumeFilesRequest,
  VolumeServerStatus,
} from './volume-api.ts'
import {
  catchUpAnswerFromWire,
  catchUpToWire,
  copyProgressFromWire,
  copyToWire,
  type DeleteNeedlesCommand,
  deleteNeedlesToWire,
  deleteVolumeToWire,
  freezeToWire,
  healAnswerFromWire,
  healToWire,
  needleIdsToWire,
  needlePageFromWire,
  needleStatFromWire,
  type SetReplicationCommand,
  scrubProgressFromWire,
  scrubToWire,
  setReplicationToWire,
  vacuumCommandToWire,
  vacuumFromWire,
  volumeDigestFromWire,
  type WireCatchUpAnswer,
  type WireCopyProgress,
  type WireHealAnswer,
  type WireNeedlePage,
  type WireNeedleStat,
  type WireScrubProgress,
  type WireVacuum,
} from './wire-repair.ts'
import { volumeReportFromWire, type WireVolumeReport } from './wire-reports.ts'
import { fromPeer } from './wire-values.ts'
import {
  allocateToWire,
  batchAnswerFromWire,
  commandToWire,
  deleteAnswerFromWire,
  deleteToWire,
  extentFromWire,
  headFromWire,
  pieceFromWire,
  putAnswerFromWire,
  putToWire,
  readToWire,
  serverStatusFromWire,
  tailRecordFromWire,
  tailToWire,
  volumeFilesToWire,
  type WireExtent,
  type WireGetPart,
  type WireResult,
  type WireResults,
  type WireServerStatus,
  type WireTailRecord,
} from './wire-volume.ts'
import { WriteStreamClient } from './write-stream-client.ts'

export interface RemoteVolumeParts {
  readonly clock: Clock
  readonly random: Random
}

export interface RemoteVolumeConfig {
  readonly location: Pick<NodeLocation, 'url' | 'grpcAddress'>
  readonly secret?: Buffer | undefined
  /** For gRPC. HTTP, which has the needles themselves, is in plain text. */
  readonly tls?: TlsKeys | undefined
  readonly timeoutMs: number
  /**
   * How needles are read. Over gRPC the metadata is complete; over HTTP, which is several times
   * faster, it lacks the time to live, and the mime type may come from the name. `http` unless
   * given.
   */
  readonly reads?: 'http' | 'grpc' | undefined
}

/** A little less than a message may have: the rest is for the metadata. */
const MESSAGE_DATA_MAX = LIMITS.grpcMessageMax.value - LIMITS.writeStreamDataMax.value * 2

/**
 * A volume server over the net. Small puts and deletes share one Write stream; large puts and reads
 * go over HTTP; the rest is gRPC calls. Connections are made when they are first needed.
 */
export class RemoteVolume implements VolumeApi, AsyncDisposable {
  readonly shards: RemoteShards
  readonly #channel: GrpcChannel
  readonly #writes: WriteStreamClient
  readonly #http: NeedleHttp
  readonly #peer: string
  readonly #reads: 'http' | 'grpc'
  /** Whoever wants gRPC encrypted does not want whole volumes in plain text beside it. */
  readonly #copies: 'http' | 'grpc'
  #closing: Promise<void> | undefined

  /** @throws {StoreError} CONFIG_INVALID: `tls` cannot be used. */
  constructor(parts: RemoteVolumeParts, config: RemoteVolumeConfig) {
    const { location, secret, tls, timeoutMs } = config
    const address = location.grpcAddress
    this.#peer = address
    const service = { ...VOLUME_PROTO, ...SHARDS_PROTO }
    const options = { address, service, secret, tls, timeoutMs }
    this.#channel = new GrpcChannel(parts, options)
    this.#writes = new WriteStreamClient(parts, { channel: this.#channel, timeoutMs })
    const auth = secret && new ClusterAuth(parts, secret)
    this.#http = new NeedleHttp(parts, { url: location.url, timeoutMs, auth })
    this.#reads = config.reads ?? 'http'
    this.#copies = tls === undefined ? this.#reads : 'grpc'
    this.shards = new RemoteShards({
      channel: this.#channel,
      http: this.#http,
      peer: address,
      copies: this.#copies,
    })
  }

  /** Writes that have no answer yet, and writes that wait for their turn. */
  get queuedCount(): number {
    return this.#writes.inFlightCount + this.#writes.waitingCount
  }

  async put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    const { length } = request.data
    if (length <= LIMITS.writeStreamDataMax.value) {
      const result = await this.#writes.run({ put: putToWire(request) }, length, signal)
      return fromPeerResult(this.#peer, result, putAnswerFromWire)
    }
    if (fitsHeaders(request.metadata)) return await this.#http.put(request, signal)
    return await this.putOverGrpc(request, signal)
  }

  /** One put, one call: for what HTTP cannot say, and to compare with. */
  async putOverGrpc(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    const { length } = request.data
    if (length > MESSAGE_DATA_MAX) {
      const text = `${length} bytes with a name or pairs that HTTP cannot carry`
      throw new StoreError('NEEDLE_INVALID', text)
    }
    const result = await this.#channel.unary<WireResult>('Put', putToWire(request), signal)
    return fromPeerResult(this.#peer, result, putAnswerFromWire)
  }

  async putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer> {
    if (!fitsHeaders(request.metadata)) {
      throw new StoreError('NEEDLE_INVALID', 'a stream with a name or pairs HTTP cannot carry')
    }
    return await this.#http.putStream(request, signal)
  }

  async delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer> {
    const result = await this.#writes.run({ delete: deleteToWire(request) }, 0, signal)
    return fromPeerResult(this.#peer, result, deleteAnswerFromWire)
  }

  async batchDelete(
    requests: readonly DeleteRequest[],
    signal: AbortSignal,
  ): Promise<readonly BatchDeleteAnswer[]> {
    const answers: BatchDeleteAnswer[] = []
    const countMax = LIMITS.batchDeleteMax.value
    for (let at = 0; at < requests.length; at += countMax) {
      answers.push(...(await this.#deleteBatch(requests.slice(at, at + countMax), signal)))
    }
    return answers
  }

  async read(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    if (this.#reads === 'grpc') return await this.readOverGrpc(request, signal)
    return await this.#http.read(request, signal)
  }

  /** As `read`, with everything the needle knows about itself. Slower. */
  async readOverGrpc(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    const { range } = request
    if (range !== undefined && range.end <= range.start) {
      throw new StoreError('RANGE_INVALID', `there are no bytes ${range.start} to ${range.end}`)
    }
    const parts = this.#channel.serverStream<WireGetPart>('Get', readToWire(request), signal)
    const dispose = async (): Promise<void> => {
      await parts.return(undefined)
    }
    try {
      const first = await parts.next()
      const part = first.done === true ? undefined : first.value
      const head = fromPeer(this.#peer, part, headFromWire)
      return { ...head, data: dataOf(parts), [Symbol.asyncDispose]: dispose }
    } catch (error) {
      await dispose()
      throw error
    }
  }

  async allocateVolume(command: AllocateVolumeCommand, signal: AbortSignal): Promise<void> {
    await this.#channel.unary('AllocateVolume', allocateToWire(command), signal)
  }

  async sealVolume(command: VolumeCommand, signal: AbortSignal): Promise<void> {
    await this.#channel.unary('SealVolume', commandToWire(command), signal)
  }

  async deleteVolume(command: DeleteVolumeCommand, signal: AbortSignal): Promise<void> {
    await this.#channel.unary('DeleteVolume', deleteVolumeToWire(command), signal)
  }

  async volumeStatus(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeReport> {
    const request = { volumeId }
    const wire = await this.#channel.unary<WireVolumeReport>('GetVolumeStatus', request, signal)
    return fromPeer(this.#peer, wire, volumeReportFromWire)
  }

  async serverStatus(signal: AbortSignal): Promise<VolumeServerStatus> {
    const wire = await this.#channel.unary<WireServerStatus>('GetServerStatus', {}, signal)
    return fromPeer(this.#peer, wire, serverStatusFromWire)
  }

  copyVolume(command: CopyVolumeCommand, signal: AbortSignal): AsyncIterable<CopyProgress> {
    const request = copyToWire(command)
    return this.#stream<WireCopyProgress, CopyProgress>(
      'CopyVolume',
      request,
      copyProgressFromWire,
      signal,
    )
  }

  async *readVolumeFiles(
    request: VolumeFilesRequest,
    signal: AbortSignal,
  ): AsyncGenerator<VolumeFilePiece, void, undefined> {
    const { volumeId, isDatApart = false } = request
    const wire = volumeFilesToWire({ volumeId, isDatApart: isDatApart || this.#copies === 'http' })
    for await (const piece of this.#stream('ReadVolumeFiles', wire, pieceFromWire, signal)) {
      const { extension, extent } = piece
      if (extent === undefined || isDatApart) {
        yield piece
        continue
      }
      let offsetBytes = 0
      for await (const data of this.#http.readVolumeData({ volumeId, extent }, signal)) {
        yield { extension, offsetBytes, data }
        offsetBytes += data.length
      }
    }
  }

  tailVolume(request: TailRequest, signal: AbortSignal): AsyncIterable<TailRecord> {
    const wire = tailToWire(request)
    return this.#stream<WireTailRecord, TailRecord>('TailVolume', wire, tailRecordFromWire, signal)
  }

  async vacuumCheck(volumeId: VolumeId, signal: AbortSignal): Promise<number> {
    type WireRatio = { readonly garbageRatio: number }
    const { garbageRatio } = await this.#channel.unary<WireRatio>(
      'VacuumCheck',
      { volumeId },
      signal,
    )
    if (garbageRatio >= 0 && garbageRatio <= 1) return garbageRatio
    throw new StoreError('PEER_FAILED', `${this.#peer} sent a ratio of ${garbageRatio}`)
  }

  vacuumVolume(command: VacuumCommand, signal: AbortSignal): AsyncIterable<VacuumProgress> {
    const wire = vacuumCommandToWire(command)
    return this.#stream<WireVacuum, VacuumProgress>('VacuumVolume', wire, vacuumFromWire, signal)
  }

  async freezeVolume(command: FreezeCommand, signal: AbortSignal): Promise<VolumeExtent> {
    const request = freezeToWire(command)
    const wire = await this.#channel.unary<WireExtent>('FreezeVolume', request, signal)
    return fromPeer(this.#peer, wire, extentFromWire)
  }

  async digestVolume(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeDigest> {
    const wire = await this.#long<VolumeDigest>('DigestVolume', { volumeId }, signal)
    return fromPeer(this.#peer, wire, volumeDigestFromWire)
  }

  async catchUpVolume(command: CatchUpCommand, signal: AbortSignal): Promise<CatchUpAnswer> {
    const request = catchUpToWire(command)
    const wire = await this.#long<WireCatchUpAnswer>('CatchUpVolume', request, signal)
    return fromPeer(this.#peer, wire, catchUpAnswerFromWire)
  }

  listNeedles(volumeId: VolumeId, signal: AbortSignal): AsyncIterable<readonly NeedleSummary[]> {
    const convert = (wire: WireNeedlePage) => needlePageFromWire(wire)
    return this.#stream('ListNeedles', { volumeId }, convert, signal)
  }

  async statNeedles(
    volumeId: VolumeId,
    needleIds: readonly NeedleId[],
    signal: AbortSignal,
  ): Promise<readonly NeedleStat[]> {
    type WireStats = { readonly needles: readonly WireNeedleStat[] }
    const request = { volumeId, needleIds: needleIdsToWire(needleIds) }
    const wire = await this.#long<WireStats>('StatNeedles', request, signal)
    return this.#oneEach(needleIds, wire.needles, needleStatFromWire)
  }

  async healNeedles(
    command: HealNeedlesCommand,
    signal: AbortSignal,
  ): Promise<readonly HealAnswer[]> {
    type WireHealed = { readonly answers: readonly WireHealAnswer[] }
    const wire = await this.#long<WireHealed>('HealNeedles', healToWire(command), signal)
    return this.#oneEach(command.needleIds, wire.answers, healAnswerFromWire)
  }

  /** Any number of them. */
  async deleteNeedles(command: DeleteNeedlesCommand, signal: AbortSignal): Promise<void> {
    const { needleIds } = command
    const countMax = LIMITS.healNeedlesMax.value
    for (let at = 0; at < needleIds.length; at += countMax) {
      const part = { ...command, needleIds: needleIds.slice(at, at + countMax) }
      await this.#long('DeleteNeedles', deleteNeedlesToWire(part), signal)
    }
  }

  scrubVolume(command: ScrubCommand, signal: AbortSignal): AsyncIterable<ScrubProgress> {
    const convert = (wire: WireScrubProgress) => scrubProgressFromWire(wire)
    return this.#stream('ScrubVolume', scrubToWire(command), convert, signal)
  }

  async setVolumeReplication(command: SetReplicationCommand, signal: AbortSignal): Promise<void> {
    await this.#channel.unary('SetVolumeReplication', setReplicationToWire(command), signal)
  }

  /** Takes no new writes, waits up to `deadlineMs` for those under way, and fails the rest. */
  close(deadlineMs: number): Promise<void> {
    this.#closing ??= this.#close(deadlineMs)
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(LIMITS.drainMs.value)
  }

  async #close(deadlineMs: number): Promise<void> {
    await this.#writes.close(deadlineMs)
    await this.#channel[Symbol.asyncDispose]()
    await this.#http[Symbol.asyncDispose]()
  }

  async #deleteBatch(
    requests: readonly DeleteRequest[],
    signal: AbortSignal,
  ): Promise<BatchDeleteAnswer[]> {
    const operations = requests.map(deleteToWire)
    const { results } = await this.#channel.unary<WireResults>(
      'BatchDelete',
      { operations },
      signal,
    )
    if (results.length !== requests.length) {
      const text = `${this.#peer} answered ${results.length} of ${requests.length} deletes`
      throw new StoreError('PEER_FAILED', text)
    }
    return requests.map((request, index) => {
      const result = results[index]
      if (result === undefined) throw new StoreError('PEER_FAILED', `no result ${index}`)
      return batchAnswerFromWire(result, request)
    })
  }

  #long<Wire extends object>(name: string, request: object, signal: AbortSignal): Promise<Wire> {
    return this.#channel.unary<Wire>(name, request, signal, { isLong: true })
  }

  /** @throws {StoreError} PEER_FAILED: not one answer for each needle, in their order. */
  #oneEach<Wire, Answer extends { readonly needleId: NeedleId }>(
    needleIds: readonly NeedleId[],
    wires: readonly Wire[],
    convert: (wire: Wire) => Answer,
  ): Answer[] {
    const answers = wires.map((wire) => fromPeer(this.#peer, wire, convert))
    const isOneEach =
      answers.length === needleIds.length &&
      answers.every(({ needleId: { hi, lo } }, index) => {
        return hi === needleIds[index]?.hi && lo === needleIds[index]?.lo
      })
    if (isOneEach) return answers
    throw new StoreError('PEER_FAILED', `${this.#peer} answered for other needles than asked`)
  }

  #stream<Wire extends object, Value>(
    name: string,
    request: object,
    convert: (wire: Wire) => Value,
    signal: AbortSignal,
  ): AsyncIterable<Value> {
    const answers = this.#channel.serverStream<Wire>(name, request, signal)
    return mapStream(answers, (wire) => fromPeer(this.#peer, wire, convert))
  }
}

/** What the operation failed with is the answer; only what makes no sense is the peer's fault. */
function fromPeerResult<Answer>(
  peer: string,
  result: WireResult,
  convert: (result: WireResult) => Answer,
): Answer {
  return result.errorCode === '' ? fromPeer(peer, result, convert) : convert(result)
}

async function* dataOf(parts: AsyncIterable<WireGetPart>): AsyncGenerator<Uint8Array> {
  for await (const { data } of parts) {
    if (data !== undefined && data.length > 0) yield data
  }
}
