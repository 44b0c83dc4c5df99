import type { JobPhase } from '../../src/jobs/job.ts'
import { JOB_PHASES } from '../../src/jobs/job.ts'
import type { CodedScene } from './coded-scenes.ts'
import type { PoweredNode } from './powered-node.ts'

const ATTEMPTS = 3
/** Calls of the disk of one server in the course of a job: a power of two. */
const CALLS_LOG2 = 8
const TURNS_DOWN_MAX = 300
/** In a turn of the event loop. */
const DELETE_CHANCE = 0.005
/** Around calls between which a delete must not be forgotten. */
const DELETE_AT_CALL_CHANCE = 0.08
/** When nothing else happens, from the last phase on in which all goes on as ever. */
const DELETE_WHEN_CALM_CHANCE = 0.4
const LAST_PHASES: readonly JobPhase[] = ['verified', 'copied', 'rebuilt']
const CALLS = ['shardStatus', 'tailVolume', 'listJournal', 'journalDeletes', 'freezeVolume']
const FAULT_KINDS = ['create', 'writev', 'datasync', 'rename', 'syncDirectory', 'unlink'] as const

export interface StormOptions {
  /** What befalls disks: they lose their power, single calls fail, or nothing does. */
  readonly kind: 'power' | 'errors' | 'calm'
}

/** Attempts at a job while servers lose their power, disks fail, and needles are deleted. */
export class CodedStorm {
  readonly #scene: CodedScene
  readonly #options: StormOptions
  readonly #armed = new Set<PoweredNode>()
  /** Turns of the event loop until a server is started again. */
  readonly #down = new Map<PoweredNode, number>()
  #isForAll = false
  #deleteChance = DELETE_AT_CALL_CHANCE
  /** Cuts in the middle of a call. */
  cutCount = 0
  /** What servers answered that they must never answer. */
  readonly lies: string[] = []

  constructor(scene: CodedScene, options: StormOptions) {
    this.#scene = scene
    this.#options = options
    const { prng, client, nodes } = scene.real
    for (const node of nodes) {
      node.onCall = (name) => {
        if (!CALLS.includes(name) || !prng.chance(this.#deleteChance)) return
        queueMicrotask(() => client.start())
      }
    }
  }

  async run(): Promise<void> {
    const { real, kind } = this.#scene
    const { prng, client } = real
    const isCalm = this.#options.kind === 'calm'
    if (isCalm) this.#deleteChance = 0
    for (let count = prng.between(1, ATTEMPTS); count > 0 && !this.#scene.isDone; count--) {
      await client.deleteSome(prng.below(3))
      for (let victims = prng.between(1, 2); victims > 0 && !isCalm; victims--) this.#arm()
      this.#isForAll = prng.chance(0.2)
      const phases: readonly JobPhase[] = JOB_PHASES[kind]
      const deathAt = !isCalm && prng.chance(0.3) ? prng.pick(phases) : undefined
      await this.#scene.attempt(
        (phase) => {
          if (isCalm && LAST_PHASES.includes(phase)) this.#deleteChance = DELETE_WHEN_CALM_CHANCE
          return phase === deathAt
        },
        () => this.#turn(),
      )
      if (prng.chance(0.5)) await real.startAll()
      this.lies.push(...(await client.lies()))
      if (prng.chance(0.5)) await real.pass(prng.below(20_000))
    }
    for (const node of real.nodes) node.onCall = () => undefined
    // Nothing strikes any more when it is calm.
    for (const node of real.nodes) if (node.node.disk.armedFaults > 0) node.cut()
    for (const node of this.#armed) node.cut()
  }

  #arm(): void {
    const { real } = this.#scene
    const { prng } = real
    const node = prng.chance(0.7) ? prng.pick(real.holders) : prng.pick(real.nodes)
    if (!node.isUp) return
    const callCount = prng.between(1, 2 ** prng.between(0, CALLS_LOG2))
    if (this.#options.kind === 'power') {
      node.node.disk.cutPowerAfter(callCount)
      this.#armed.add(node)
    } else {
      const code = prng.pick(['EIO', 'EIO', 'ENOSPC'] as const)
      node.node.disk.failCall(callCount, code, [prng.pick(FAULT_KINDS)])
    }
  }

  async #turn(): Promise<void> {
    const { real } = this.#scene
    const { prng, client, nodes } = real
    if (prng.chance(DELETE_CHANCE)) client.start()
    for (const node of this.#armed) {
      if (node.isUp) continue
      this.#armed.delete(node)
      this.cutCount++
      this.#down.set(node, prng.below(TURNS_DOWN_MAX))
      if (!this.#isForAll) continue
      for (const other of nodes) {
        if (other.isUp) this.#down.set(other, prng.below(TURNS_DOWN_MAX))
        other.cut()
      }
    }
    for (const [node, turns] of this.#down) {
      this.#down.set(node, turns - 1)
      if (turns > 0) continue
      this.#down.delete(node)
      if (!node.isUp) await node.start()
    }
  }
}
