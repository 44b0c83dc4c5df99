import { StoreError } from '../../src/base/store-error.ts'
import type { Heartbeat, NodeLocation } from '../../src/net/master-api.ts'
import type { ConnectVolume, VolumeApi } from '../../src/net/volume-api.ts'
import type { SimClock } from '../support/sim-clock.ts'
import type { FakeMaster } from '../volume/fake-master.ts'
import { LocalNode } from '../volume/local-node.ts'
import { intercepted } from './real-job.ts'

/** What a server has around it. */
export interface Surroundings {
  readonly clock: SimClock
  readonly master: FakeMaster
  /** @throws {StoreError} UNAVAILABLE: there is none, or it has no power. */
  readonly at: (location: NodeLocation) => PoweredNode
}

const TURNS_MAX = 100

/**
 * A real volume server whose power may go at any call of its disk. From then on nothing of it
 * reaches the others, nor the disk, and nothing of the others reaches it.
 */
export class PoweredNode {
  readonly node: LocalNode
  readonly #around: Surroundings
  #boot = new Boot(() => this.node.disk.isPowerOff)
  /** Calls that others made. */
  callCount = 0
  /** Told of each of them before it is passed on. */
  onCall: (name: string) => void = () => undefined

  constructor(around: Surroundings, port: number, seed: number) {
    this.#around = around
    // Each start of the server has wires of its own.
    const wires = () => this.#wires()
    const cluster = {
      clock: around.clock,
      nodes: new Map<string, VolumeApi>(),
      get master() {
        return wires().master
      },
      get connect() {
        return wires().connect
      },
    }
    this.node = new LocalNode(cluster, port, { seed })
  }

  get url(): string {
    return this.node.location.url
  }

  get isUp(): boolean {
    return !this.#boot.isOver
  }

  /** As clients and other servers see it. */
  get api(): VolumeApi {
    return this.#apiFor(undefined)
  }

  /** All there is. */
  get beat(): Heartbeat {
    const { reports, epochs } = this.node.opened
    return {
      node: this.node.location,
      isFull: true,
      volumes: reports.all(),
      removedVolumeIds: [],
      shards: reports.shards(),
      disks: reports.disks(),
      highestNeedleId: reports.highestNeedleId(),
      inFlightCount: 0,
      epoch: epochs.highest,
      isLeaving: false,
    }
  }

  /** The power goes now. */
  cut(): void {
    this.node.disk.cutPowerAfter(0)
    this.#boot.end()
  }

  /** Whoever waits for this server hears that its power is gone, if it is. */
  notice(): void {
    if (this.#boot.isOver) this.#boot.end()
  }

  /** After a cut; what is on the disk then is what a power cut leaves. */
  async start(): Promise<void> {
    this.cut()
    await this.#forgetProcess()
    this.#boot = new Boot(() => this.node.disk.isPowerOff)
    await this.node.cutPower()
  }

  /** As an operator restarts it. */
  async restart(): Promise<void> {
    await this.node.close()
    await this.node.open()
  }

  /**
   * Ends what would go on by itself, which cannot do anything more. A write that the cut came upon
   * may stay where it is for ever, and with it whoever closes the volume.
   */
  async #forgetProcess(): Promise<void> {
    let isOver = false
    const note = () => {
      isOver = true
    }
    this.node.opened.owned[Symbol.asyncDispose]().then(note, note)
    for (let turn = 0; !isOver && turn < TURNS_MAX; turn++) await this.#around.clock.advance(0)
  }

  #wires(): { readonly master: FakeMaster; readonly connect: ConnectVolume } {
    const source = this.#boot
    const { master, at } = this.#around
    return {
      master: intercepted(master, (_name, call) => source.send(call)),
      connect: (location) => at(location).#apiFor(source),
    }
  }

  #apiFor(source: Boot | undefined): VolumeApi {
    const target = this.#boot
    return intercepted<VolumeApi>(this.node.api, (name, call) => {
      this.callCount++
      this.onCall(name)
      const receive = () => target.send(call)
      return source === undefined ? receive() : source.send(receive)
    })
  }
}

/** A server from its start until its power goes. */
class Boot {
  readonly #isPowerOff: () => boolean
  readonly #pending = new Set<() => void>()
  #isEnded = false

  constructor(isPowerOff: () => boolean) {
    this.#isPowerOff = isPowerOff
  }

  get isOver(): boolean {
    return this.#isEnded || this.#isPowerOff()
  }

  end(): void {
    this.#isEnded = true
    for (const tell of this.#pending) tell()
    this.#pending.clear()
  }

  /** A call to or from this server: whatever comes of it after its power has gone is lost. */
  send(call: () => unknown): unknown {
    if (this.isOver) return refusal()
    const result = call()
    // A refusal of the other side is both.
    if (result instanceof Promise && isStream(result)) return result
    if (result instanceof Promise) return this.#answer(result)
    return isStream(result) ? this.#stream(result) : result
  }

  async #answer<Result>(answer: Promise<Result>): Promise<Result> {
    let stop: () => void = () => undefined
    const gone = new Promise<void>((resolve) => {
      stop = resolve
    })
    this.#pending.add(stop)
    // Nobody hears any more what becomes of it.
    answer.catch(() => undefined)
    try {
      const result = await Promise.race([answer, gone])
      this.#check()
      return result as Result
    } catch (error) {
      this.#check()
      throw error
    } finally {
      this.#pending.delete(stop)
    }
  }

  async *#stream(items: AsyncIterable<unknown>): AsyncGenerator<unknown> {
    const iterator = items[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await this.#answer(iterator.next())
        if (next.done === true) return
        yield next.value
      }
    } finally {
      const ending = Promise.resolve(iterator.return?.())
      if (this.isOver) ending.catch(() => 'it has lost its power')
      else await this.#answer(ending)
    }
  }

  #check(): void {
    if (this.isOver) throw powerless()
  }
}

function powerless(): StoreError {
  return new StoreError('UNAVAILABLE', 'the server has lost its power')
}

/** Calls over the net do not throw: they reject, or their streams do. */
function refusal(): Promise<never> & AsyncIterable<never> {
  const refused = Promise.reject(powerless())
  refused.catch(() => 'it may have been wanted as a stream')
  const next = async () => {
    throw powerless()
  }
  return Object.assign(refused, { [Symbol.asyncIterator]: () => ({ next }) })
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
