import { TTL_NONE } from '../../src/base/ttl.ts'
import { type RawMasterConfig, readMasterConfig } from '../../src/master/config.ts'
import { Master } from '../../src/master/master.ts'
import { LevelCoordinator } from '../../src/metadata/level/level-coordinator.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { MetadataStore } from '../../src/metadata/metadata-store.ts'
import type { JobEnd, JobLease, JobsApi, TakeJobRequest } from '../../src/net/jobs-api.ts'
import type { AssignRequest } from '../../src/net/master-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { connectTo, type FakeServerOptions, FakeVolumeServer } from './fake-volume-server.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

export const NO_SIGNAL = new AbortController().signal

export const ANY_ASSIGN: AssignRequest = {
  count: 1,
  collection: '',
  replication: undefined,
  ttl: TTL_NONE,
  dataCenter: '',
  rack: '',
  node: '',
  excludedVolumeIds: [],
  dataBytes: 0,
  key: '',
}

export interface TestMasterOptions {
  readonly seed?: number
  readonly store?: MetadataStore
  readonly clock?: SimClock
  readonly servers?: FakeVolumeServer[]
  readonly config?: Partial<RawMasterConfig>
}

/** A master over fake volume servers, without network, disks or time of its own. */
export class TestMaster implements AsyncDisposable {
  readonly master: Master
  readonly clock: SimClock
  readonly store: MetadataStore
  readonly servers: FakeVolumeServer[]

  private constructor(master: Master, parts: Parts) {
    this.master = master
    this.clock = parts.clock
    this.store = parts.store
    this.servers = parts.servers
  }

  static async open(options: TestMasterOptions = {}): Promise<TestMaster> {
    const { clock = new SimClock(), store = new MemoryStore(), servers = [] } = options
    const random = new Prng(options.seed ?? 1)
    const logger = silentLogger
    const coordinator = await LevelCoordinator.open(
      { store, random, logger },
      { address: 'master:9333' },
      NO_SIGNAL,
    )
    const connect = connectTo(servers)
    const shared = { store, coordinator, connect, clock, random, logger }
    const parts = { ...shared, tokens: undefined, version: '' }
    const config = readMasterConfig({ dir: 'unused', ...options.config })
    const master = await Master.open(parts, config, NO_SIGNAL)
    return new TestMaster(master, { clock, store, servers })
  }

  /** A new server that has joined. */
  async add(url: string, options: FakeServerOptions = {}): Promise<FakeVolumeServer> {
    const server = new FakeVolumeServer(url, options)
    this.servers.push(server)
    const stream = server.join(this.master, NO_SIGNAL)
    while (stream.answers.length === 0 && !stream.isOver) await this.clock.advance(0)
    return server
  }

  /** A beat of every server that is connected, after `ms`. */
  async beat(ms = 5000): Promise<void> {
    await this.clock.advance(ms)
    for (const server of this.servers) server.sendBeat()
    for (let turn = 0; turn < 5; turn++) await this.clock.advance(0)
  }

  get jobs(): JobsApi {
    return this.master.jobs
  }

  /** The job that a worker without preferences is given; undefined: there is none. */
  async takeJob(request: Partial<TakeJobRequest> = {}): Promise<JobLease | undefined> {
    const any = { worker: 'worker', queue: '', kinds: [] }
    return await this.settle(this.jobs.takeJob({ ...any, ...request }, NO_SIGNAL))
  }

  /** Ends the job of a lease. */
  async endJob(
    { job, token }: JobLease,
    outcome: JobEnd['outcome'] = 'done',
    error = '',
  ): Promise<void> {
    const report = { jobId: job.id, token, progress: job.progress, cursor: '' }
    await this.settle(this.jobs.endJob({ ...report, outcome, error, summary: '' }, NO_SIGNAL))
  }

  /** Lets time pass with a beat of every connected server each second or so. */
  async live(ms: number, everyMs = 1000): Promise<void> {
    for (let passed = 0; passed < ms; passed += everyMs) await this.beat(everyMs)
  }

  async assign(request: Partial<AssignRequest> = {}) {
    return await this.settle(this.master.assign({ ...ANY_ASSIGN, ...request }, NO_SIGNAL))
  }

  /** Lets time pass until the promise settles. */
  async settle<Result>(promise: Promise<Result>, msMax = 60_000): Promise<Result> {
    let isSettled = false
    const done = promise.then(
      () => {
        isSettled = true
      },
      () => {
        isSettled = true
      },
    )
    for (let ms = 0; ms < msMax && !isSettled; ms += 50) await this.clock.advance(50)
    if (!isSettled) throw new Error(`nothing came of it in ${msMax} ms`)
    await done
    return await promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) server.leave()
    await this.settle(this.master[Symbol.asyncDispose]())
  }
}

interface Parts {
  readonly clock: SimClock
  readonly store: MetadataStore
  readonly servers: FakeVolumeServer[]
}
