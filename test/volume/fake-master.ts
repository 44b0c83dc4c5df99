import type { VolumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type {
  Heartbeat,
  HeartbeatAnswer,
  LocationsUpdate,
  MasterApi,
  NodeLocation,
  VolumeLocations,
} from '../../src/net/master-api.ts'
import { onAbort } from '../../src/runtime/abort.ts'

/** A master that says what a test tells it to, and keeps what it hears. */
export class FakeMaster implements MasterApi {
  readonly known = new Map<VolumeId, readonly NodeLocation[]>()
  readonly beats: Heartbeat[] = []
  lookupCount = 0
  /** Streams that began. */
  streamCount = 0
  answer: HeartbeatAnswer = {
    isLeader: true,
    leader: 'master:9333',
    epoch: 1,
    intervalMs: 1000,
    volumeSizeMaxBytes: 2 ** 30,
  }
  /** What calls fail with. */
  failure: StoreError | undefined
  #onBeat: (() => void) | undefined

  async lookup(volumeIds: readonly VolumeId[]): Promise<readonly VolumeLocations[]> {
    this.lookupCount++
    if (this.failure !== undefined) throw this.failure
    return volumeIds.flatMap((volumeId) => {
      const locations = this.known.get(volumeId)
      return locations === undefined ? [] : [{ volumeId, collection: '', locations }]
    })
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LocationsUpdate> {
    if (this.failure !== undefined) throw this.failure
    await new Promise<void>((resolve) => {
      onAbort(signal, resolve)
    })
  }

  async *heartbeat(
    beats: AsyncIterable<Heartbeat>,
    signal: AbortSignal,
  ): AsyncGenerator<HeartbeatAnswer> {
    this.streamCount++
    for await (const beat of beats) {
      if (this.failure !== undefined) throw this.failure
      this.beats.push(beat)
      this.#onBeat?.()
      if (signal.aborted) return
      yield this.answer
    }
  }

  assign = refuse
  grow = refuse
  topology = refuse
  collections = refuse
  deleteCollection = refuse
  statistics = refuse
  status = refuse
  linkName = refuse
  resolveName = refuse
  unlinkName = refuse
  listNames = refuse
}

async function refuse(): Promise<never> {
  throw new StoreError('UNAVAILABLE', 'this master does not do that')
}
