import type { VolumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type {
  DirtyRecord,
  Heartbeat,
  HeartbeatAnswer,
  LocationsUpdate,
  MasterApi,
  NodeLocation,
  VolumeLocations,
  WritePolicy,
} from '../../src/net/master-api.ts'
import type { StripeLocations } from '../../src/net/stripe-facts.ts'
import { onAbort } from '../../src/runtime/abort.ts'

/** A master that says what a test tells it to, and keeps what it hears. */
export class FakeMaster implements MasterApi {
  readonly known = new Map<VolumeId, readonly NodeLocation[]>()
  /** Of coded volumes; where each shard is. */
  readonly stripes = new Map<VolumeId, StripeLocations>()
  readonly beats: Heartbeat[] = []
  /** As they were told, one list for each call. */
  readonly recorded: (readonly DirtyRecord[])[] = []
  writePolicy: WritePolicy = 'all'
  lookupCount = 0
  /** Streams that began. */
  streamCount = 0
  answer: HeartbeatAnswer = {
    isLeader: true,
    leader: 'master:9333',
    epoch: 1,
    intervalMs: 1000,
    volumeSizeMaxBytes: 2 ** 30,
    clusterId: '',
  }
  /** What calls fail with. */
  failure: StoreError | undefined
  /** Awaited before a record is durable. */
  beforeRecord: () => Promise<void> = async () => undefined
  #onBeat: (() => void) | undefined

  get dirty(): readonly DirtyRecord[] {
    return this.recorded.flat()
  }

  async lookup(volumeIds: readonly VolumeId[]): Promise<readonly VolumeLocations[]> {
    this.lookupCount++
    if (this.failure !== undefined) throw this.failure
    return volumeIds.flatMap((volumeId) => {
      const stripe = this.stripes.get(volumeId)
      const locations = stripe === undefined ? this.known.get(volumeId) : holdersOf(stripe)
      const entry = { volumeId, collection: '', writePolicy: this.writePolicy }
      return locations === undefined ? [] : [{ ...entry, locations, stripe }]
    })
  }

  async recordDirty(records: readonly DirtyRecord[]): Promise<void> {
    await this.beforeRecord()
    if (this.failure !== undefined) throw this.failure
    this.recorded.push(records)
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
  configureCollection = refuse
  statistics = refuse
  status = refuse
  linkName = refuse
  resolveName = refuse
  unlinkName = refuse
  listNames = refuse
}

function holdersOf({ shards }: StripeLocations): readonly NodeLocation[] {
  return [...new Map(shards.map(({ location }) => [location.url, location])).values()]
}

async function refuse(): Promise<never> {
  throw new StoreError('UNAVAILABLE', 'this master does not do that')
}
