import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { NO_TOKENS } from '../../src/client/file-tokens.ts'
import { OrphanRunner, type OrphanRunnerConfig } from '../../src/gateway/orphan-runner.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { Namespace } from '../../src/namespace/namespace.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { Metrics } from '../../src/runtime/metrics.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const MINUTE_MS = 60_000

interface Page {
  readonly generation: number
  readonly begunAtMs: number
}

/** Names and files in memory, as the ledger uses them. */
class FakeNames {
  readonly files = new Map<string, string>()
  named: string | undefined
  failure: StoreError | undefined
  /** Runs before a page is named. */
  beforeLink: () => Promise<void> = async () => undefined

  get page(): Page | undefined {
    const text = this.files.get(this.named ?? '')
    return text === undefined ? undefined : JSON.parse(text)
  }

  async putNamed(_name: string, data: unknown) {
    await this.beforeLink()
    const fileId = `3,${(this.files.size + 1).toString(16).padStart(2, '0')}aaaaaaaa`
    this.files.set(fileId, String(data))
    this.named = fileId
    return { fileId, sizeBytes: 0, eTag: '' }
  }

  async resolveNamed(name: string) {
    if (this.failure !== undefined) throw this.failure
    if (this.named === undefined) throw new StoreError('NAME_NOT_FOUND', name)
    return { name, fileId: this.named, sizeBytes: 0, modifiedAtMs: 0 }
  }

  async get(fileId: string) {
    const text = this.files.get(fileId)
    if (text === undefined) throw new StoreError('NEEDLE_NOT_FOUND', fileId)
    return { data: Buffer.from(text) } as never
  }
}

/** A cluster without a volume: passes find nothing, and what is seen is when they are made. */
class RunnerScene {
  readonly clock = new SimClock()
  readonly names = new FakeNames()
  readonly metrics = new Metrics()
  readonly events: string[] = []
  readonly fields: Record<string, unknown>[] = []
  topologyCount = 0
  onTopology: (signal: AbortSignal) => Promise<void> = async () => undefined
  readonly #prng = new Prng(1)

  newRunner(config: OrphanRunnerConfig = { everyMs: DAY_MS }): OrphanRunner {
    const { clock, metrics, names: client } = this
    const store = new MemoryStore()
    const namespace = new Namespace({ store, clock, random: this.#prng }, { deleteDelayMs: 0 })
    const topology = async (signal: AbortSignal) => {
      this.topologyCount++
      await this.onTopology(signal)
      return { nodes: [] } as never
    }
    const connect = () => {
      throw new Error('there is no volume')
    }
    const note = (event: string, fields: Record<string, unknown> = {}) => {
      this.events.push(event)
      this.fields.push(fields)
    }
    const logger = { ...silentLogger, info: note, warn: note }
    const access = { master: { topology }, connect, tokens: NO_TOKENS }
    const parts = { ...access, namespace, client, clock, metrics, logger, random: this.#prng }
    return new OrphanRunner(parts, config)
  }
}

describe('passes over orphans', () => {
  test('begin 10 to 20 minutes after the start, then once a day', async () => {
    const scene = new RunnerScene()
    await using runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(10 * MINUTE_MS - 1)
    expect(scene.topologyCount).toBe(0)
    await scene.clock.advance(10 * MINUTE_MS + 1)
    expect([scene.topologyCount, scene.events]).toEqual([1, ['s3.orphans_pass']])
    expect(scene.names.page).toMatchObject({ generation: 1 })
    await scene.clock.advance(DAY_MS - 20 * MINUTE_MS)
    expect(scene.topologyCount).toBe(1)
    await scene.clock.advance(9 * DAY_MS)
    // A minute at most comes to each day.
    expect(scene.topologyCount).toBe(10)
    expect(scene.names.page).toMatchObject({ generation: 10 })
  })

  test('begin after half of a period that is short', async () => {
    const scene = new RunnerScene()
    await using runner = scene.newRunner({ everyMs: 1000 })
    runner.start()
    await scene.clock.advance(499)
    expect(scene.topologyCount).toBe(0)
    await scene.clock.advance(501)
    expect(scene.topologyCount).toBe(1)
  })

  test('are made by one of three gateways, and by another when that one ends', async () => {
    const scene = new RunnerScene()
    const runners = [scene.newRunner(), scene.newRunner(), scene.newRunner()]
    for (const runner of runners) runner.start()
    await scene.clock.advance(HOUR_MS)
    expect(scene.topologyCount).toBe(1)
    await scene.clock.advance(2 * DAY_MS)
    expect(scene.topologyCount).toBe(3)
    await runners[0]?.[Symbol.asyncDispose]()
    await runners[1]?.[Symbol.asyncDispose]()
    await scene.clock.advance(2 * DAY_MS)
    expect(scene.topologyCount).toBe(5)
    await runners[2]?.[Symbol.asyncDispose]()
  })

  test('are not made anew by a restart: the ledger knows of the last one', async () => {
    const scene = new RunnerScene()
    for (let restart = 0; restart < 5; restart++) {
      await using runner = scene.newRunner()
      runner.start()
      await scene.clock.advance(HOUR_MS)
    }
    expect(scene.topologyCount).toBe(1)
  })

  test('are never two at once, however long one takes', async () => {
    const scene = new RunnerScene()
    let running = 0
    let runningMax = 0
    scene.onTopology = async (signal) => {
      runningMax = Math.max(runningMax, ++running)
      await scene.clock.sleep(3 * DAY_MS, signal)
      running--
    }
    await using runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(10 * DAY_MS)
    expect(scene.topologyCount).toBe(3)
    expect(runningMax).toBe(1)
  })

  test('end when the runner is closed, half-way too', async () => {
    const scene = new RunnerScene()
    scene.onTopology = (signal) => scene.clock.sleep(DAY_MS, signal)
    const runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(HOUR_MS)
    expect(scene.topologyCount).toBe(1)
    await runner[Symbol.asyncDispose]()
    expect([scene.events, scene.clock.timerCount]).toEqual([[], 0])
    expect(scene.names.page).toMatchObject({ generation: 0 })
    await runner[Symbol.asyncDispose]()
  })

  test('that break off are logged, and made again within an hour', async () => {
    const scene = new RunnerScene()
    scene.names.failure = new StoreError('UNAVAILABLE', 'no master answers')
    await using runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(20 * MINUTE_MS)
    expect(scene.events).toEqual(['s3.orphans_halted'])
    scene.names.failure = undefined
    await scene.clock.advance(61 * MINUTE_MS)
    expect(scene.events).toEqual(['s3.orphans_halted', 's3.orphans_pass'])
  })

  test('that another one overtook end before they delete, and are done', async () => {
    const scene = new RunnerScene()
    // Whoever began later has named a page of its own by then.
    scene.onTopology = async () => void (await scene.names.putNamed('', JSON.stringify(PAGE)))
    await using runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(HOUR_MS)
    expect(scene.events).toEqual(['s3.orphans_overtaken'])
    expect(scene.names.page).toMatchObject({ generation: 5 })
  })

  test('over rows whose ledger is gone are refused once a day, and write nothing', async () => {
    const scene = new RunnerScene()
    scene.names.named = '3,99aaaaaaaa'
    await using runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(DAY_MS)
    expect(scene.events).toEqual(['s3.orphans_refused'])
    expect(scene.fields[0]?.['refusal']).toContain('an old backup?')
    expect([scene.names.files.size, scene.topologyCount]).toEqual([0, 0])
    await scene.clock.advance(DAY_MS)
    expect(scene.events).toHaveLength(2)
    const text = await scene.metrics.text()
    expect(text).toContain('s3_orphan_passes{outcome="refused"} 2')
  })

  test('are counted', async () => {
    const scene = new RunnerScene()
    await using runner = scene.newRunner()
    runner.start()
    await scene.clock.advance(3 * DAY_MS)
    const text = await scene.metrics.text()
    expect(text).toContain('s3_orphan_passes{outcome="done"} 3')
    for (const outcome of ['found', 'collected', 'spared']) {
      expect(text).toContain(`s3_orphan_needles{outcome="${outcome}"} 0`)
    }
  })
})

const PAGE = { generation: 5, begunAtMs: Date.UTC(2024, 0, 1), seen: {} }
