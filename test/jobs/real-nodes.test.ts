import { describe, expect, test, vi } from 'vitest'
import { isStoreError } from '../../src/base/store-error.ts'
import { JOB_PHASES, type JobPhase } from '../../src/jobs/job.ts'
import type { JobKind } from '../../src/net/jobs-api.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import type { LocalNode } from '../volume/local-node.ts'
import { RealNodes } from './real-nodes.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const VOLUME = 7

/** As often as a client looks for a volume anew that is not where it was. */
const TRIES = 3

/** A client that writes all the time, by whichever member, and remembers what was acked. */
class Writer implements AsyncDisposable {
  readonly texts = new Map<number, string>()
  readonly gone = new Set<number>()
  /** Neither acked nor refused for good. */
  readonly unsure = new Set<number>()
  readonly #real: RealNodes
  readonly #prng: Prng
  #isStopped = false
  #nextNeedle = 1
  #running: Promise<void> = Promise.resolve()

  constructor(real: RealNodes, prng: Prng) {
    this.#real = real
    this.#prng = prng
  }

  async write(count: number): Promise<void> {
    for (let done = 0; done < count; done++) await this.#one()
  }

  start(): void {
    this.#isStopped = false
    const go = async () => {
      while (!this.#isStopped) {
        await this.#one()
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    this.#running = go()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** By a member, or by another one if that is none any more. */
  async #by(write: (node: LocalNode) => Promise<unknown>): Promise<void> {
    for (let tried = 1; ; tried++) {
      try {
        await write(this.#prng.pick(this.#real.memberNodes))
        return
      } catch (error) {
        const isElsewhere = isStoreError(error, 'VOLUME_NOT_FOUND', 'VOLUME_BUSY')
        if (!isElsewhere || tried === TRIES) throw error
      }
    }
  }

  async #one(): Promise<void> {
    const prng = this.#prng
    const live = [...this.texts.keys()]
    const isDelete = live.length > 5 && prng.chance(0.3)
    const id = isDelete ? prng.pick(live) : this.#nextNeedle++
    const text = `needle ${id} ${'x'.repeat(prng.below(300))}`
    try {
      if (isDelete) {
        this.texts.delete(id)
        this.unsure.add(id)
        await this.#by((node) => node.delete(VOLUME, id))
        this.gone.add(id)
      } else {
        await this.#by((node) => node.put(VOLUME, id, text))
        this.texts.set(id, text)
      }
    } catch (error) {
      if (!isStoreError(error)) throw error
      this.unsure.add(id)
    }
  }
}

async function broken(real: RealNodes, writer: Writer): Promise<string[]> {
  const wrong: string[] = []
  for (const node of real.memberNodes) {
    for (const [id, text] of writer.texts) {
      const found = await node.read(VOLUME, id).catch((error: unknown) => String(error))
      if (found !== text) wrong.push(`${id} at ${node.location.url}: ${found}`)
    }
    for (const id of writer.gone) {
      const [stat] = await node.api.statNeedles(vid(VOLUME), [{ hi: 0, lo: id }], SIGNAL)
      if (stat?.state === 'live') wrong.push(`${id} came back at ${node.location.url}`)
    }
  }
  return wrong
}

async function digests(real: RealNodes): Promise<Set<string>> {
  const all = real.memberNodes.map(({ api }) => api.digestVolume(vid(VOLUME), SIGNAL))
  return new Set((await Promise.all(all)).map(({ digest }) => digest))
}

const KILLS = (['replica-repair', 'move'] as const).flatMap((kind) =>
  JOB_PHASES[kind].map((phase: JobPhase) => [kind as JobKind, phase] as const),
)

describe('jobs with real volume servers', () => {
  test.each(seeds(20))('replace a lost copy while it is written to (seed %d)', async (seed) => {
    await using real = await RealNodes.open(4, '001', 2)
    await using writer = new Writer(real, new Prng(seed))
    await writer.write(30)
    real.lose(2)
    writer.start()
    expect(await real.run('replica-repair')).toBe(true)
    await writer.stop()
    await real.run('replica-repair')
    expect(real.memberNodes).toHaveLength(2)
    expect(await broken(real, writer)).toEqual([])
    expect((await digests(real)).size).toBe(1)
  })

  test.each(seeds(20))('move a copy while it is written to (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const copyCount = prng.between(1, 2)
    await using real = await RealNodes.open(4, `00${copyCount - 1}`, copyCount)
    await using writer = new Writer(real, prng)
    await writer.write(30)
    writer.start()
    expect(await real.run('move', { node: real.at(1).location.url })).toBe(true)
    await writer.stop()
    await real.run('replica-repair')
    expect(real.members.map(({ url }) => url)).not.toContain(real.at(1).location.url)
    expect(await broken(real, writer)).toEqual([])
    expect(writer.unsure.size - writer.gone.size, 'writes that failed').toBe(0)
    expect((await digests(real)).size).toBe(1)
    expect((await real.facts()).strays).toEqual([])
  })

  test.each(KILLS)('go on with %s after a worker died at %s', async (kind, phase) => {
    await using real = await RealNodes.open(4, '001', 2)
    await using writer = new Writer(real, new Prng(7))
    await writer.write(40)
    if (kind === 'replica-repair') real.lose(2)
    const target = { node: real.at(1).location.url }
    const isDone = await real.run(kind, target, (reached) => reached === phase)
    // Those that were held back by the dead worker go on.
    await real.cluster.clock.advance(10_000)
    await writer.write(20)
    if (!isDone) expect(await real.run(kind, target)).toBe(true)
    await real.run('replica-repair')
    expect(await broken(real, writer)).toEqual([])
    expect((await digests(real)).size).toBe(1)
    expect(real.memberNodes).toHaveLength(2)
    expect((await real.facts()).strays).toEqual([])
  })

  test('drop tombstones of copies that agree, and know the older state of one by that', async () => {
    await using real = await RealNodes.open(3, '001', 2)
    await using writer = new Writer(real, new Prng(3))
    await writer.write(60)
    expect(await real.run('vacuum')).toBe(true)
    expect(real.members.map(({ revisionMin }) => revisionMin)).toEqual([1, 1])
    const states = await real.at(1).api.statNeedles(
      vid(VOLUME),
      [...writer.gone].map((lo) => ({ hi: 0, lo })),
      SIGNAL,
    )
    expect(new Set(states.map(({ state }) => state))).toEqual(new Set(['absent']))
    expect(await broken(real, writer)).toEqual([])
  })

  test.each(seeds(20))(
    'find a flipped bit, heal it, and renew the files (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      await using real = await RealNodes.open(2, '001', 2)
      await using writer = new Writer(real, prng)
      await writer.write(60)
      const { disk, api } = real.at(2)
      const { datBytes } = await api.volumeStatus(vid(VOLUME), SIGNAL)
      disk.flipBit('/a/7.dat', prng.between(8, datBytes - 1), prng.below(8))
      expect(await real.run('scrub')).toBe(true)
      expect(Math.max(...real.scrubbed)).toBeGreaterThan(0)
      expect(await broken(real, writer)).toEqual([])
      real.scrubbed.length = 0
      expect(await real.run('scrub')).toBe(true)
      expect([real.scrubbed, real.queued]).toEqual([[0, 0], []])
    },
  )

  test('settle what was recorded of writes that a server missed', async () => {
    await using real = await RealNodes.open(3, '002', 3)
    real.cluster.master.writePolicy = 'best-effort'
    await using writer = new Writer(real, new Prng(5))
    await writer.write(30)
    const { url } = real.at(3).location
    const { api } = real.at(3)
    real.cluster.nodes.delete(url)
    real.down.add(url)
    await writer.write(30)
    real.down.delete(url)
    real.cluster.nodes.set(url, api)
    expect((await real.facts()).dirtyCount).toBeGreaterThan(0)
    expect(await real.run('replica-repair')).toBe(true)
    expect((await real.facts()).dirtyCount).toBe(0)
    expect(await broken(real, writer)).toEqual([])
    expect((await digests(real)).size).toBe(1)
  })
})
