import { cookie, needleIdFromNumber } from '../../src/base/ids.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import { Prng } from '../support/prng.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { collect } from '../volume/local-node.ts'
import { type CodedRealNodes, VOLUME } from './coded-real-nodes.ts'
import type { PoweredNode } from './powered-node.ts'

/** What is above 1 MiB is not answered whole. */
const LARGE = new Map([
  [41, 1.1 * MIB],
  [42, 0.3 * MIB],
  [43, 1.05 * MIB],
])
const SMALL_BYTES_MAX = 3_000
const TRIES_MAX = 30

const data = new Map<number, Buffer>()

function dataOf(id: number): Buffer {
  const known = data.get(id)
  if (known !== undefined) return known
  const prng = new Prng(id)
  const bytes = prng.bytes(Math.floor(LARGE.get(id) ?? prng.between(1, SMALL_BYTES_MAX)))
  data.set(id, bytes)
  return bytes
}

const fid = (id: number) => {
  return { volumeId: VOLUME, needleId: needleIdFromNumber(id), cookie: cookie(7) }
}

/** Deletes needles at whichever server has something of the volume; knows what was acked. */
export class CodedClient {
  readonly live = new Set<number>()
  readonly gone = new Set<number>()
  /** Neither acked nor refused for good. */
  readonly unsure = new Set<number>()
  readonly #real: CodedRealNodes
  readonly #prng: Prng
  readonly #underWay = new Set<Promise<void>>()

  constructor(real: CodedRealNodes, prng: Prng) {
    this.#real = real
    this.#prng = prng
  }

  /** Needles that are there: all of these ids, and none below. */
  know(first: number, last: number): void {
    for (let id = 1; id <= last; id++) (id < first ? this.gone : this.live).add(id)
  }

  async put(count: number): Promise<void> {
    const [first] = this.#real.nodes
    for (let id = 1; id <= count; id++) {
      const request = { fileId: fid(id), data: dataOf(id), metadata: {}, writeToken: '' }
      await first?.api.put({ ...request, isReplica: false }, SIGNAL)
      this.live.add(id)
    }
  }

  async delete(id: number): Promise<void> {
    this.live.delete(id)
    this.unsure.add(id)
    const up = this.#real.holders.filter(({ isUp }) => isUp)
    if (up.length === 0) return
    const request = { fileId: fid(id), writeToken: '', isReplica: false }
    try {
      await this.#prng.pick(up).api.delete(request, SIGNAL)
      this.unsure.delete(id)
      this.gone.add(id)
    } catch (error) {
      if (!isStoreError(error)) throw error
    }
  }

  /** Deletes some small needle, whatever else goes on. */
  start(): void {
    const candidates = [...this.live].filter((id) => !LARGE.has(id))
    if (candidates.length <= 5) return
    const deleting = this.delete(this.#prng.pick(candidates))
    this.#underWay.add(deleting)
    void deleting.finally(() => this.#underWay.delete(deleting)).catch(() => 'awaited below')
  }

  async deleteSome(count: number): Promise<void> {
    for (let done = 0; done < count; done++) this.start()
    await this.#real.settle(Promise.all(this.#underWay))
  }

  /** All servers are up: every delete comes to its end. */
  async settle(): Promise<void> {
    await this.#real.settle(Promise.all(this.#underWay))
    for (let tries = 0; this.unsure.size > 0; tries++) {
      for (const id of this.unsure) await this.#real.settle(this.delete(id))
      if (this.unsure.size === 0) return
      if (tries > TRIES_MAX) throw new Error(`needles ${[...this.unsure]} cannot be deleted`)
      await this.#real.pass(2_000)
    }
  }

  /**
   * What is not as it shall be, at each server that has something of the volume; the large ones
   * only at one of them, unless `isThorough`.
   */
  async wrong(isThorough: boolean): Promise<string[]> {
    const wrong: string[] = []
    const { holders } = this.#real
    const reader = this.#prng.pick(holders)
    for (const node of holders) {
      for (const id of this.live) {
        if (LARGE.has(id) && node !== reader && !isThorough) continue
        const found = await this.#real.settle(this.#read(node, id))
        if (found instanceof Buffer && found.equals(dataOf(id))) continue
        wrong.push(`needle ${id} at ${node.url}: ${found instanceof Buffer ? 'differs' : found}`)
      }
      for (const id of this.gone) {
        const found = await this.#real.settle(this.#read(node, id))
        if (found === 'NEEDLE_NOT_FOUND') continue
        wrong.push(`deleted needle ${id} at ${node.url}: ${typeof found}`)
      }
    }
    return wrong
  }

  /** As `wrong`, in the midst of it all: what a server in reach must not answer even then. */
  async lies(): Promise<string[]> {
    const lies: string[] = []
    const { holders, facts } = this.#real
    // A server that has missed a delete has not been told of it yet.
    const gone = facts.dirtyCount === 0 ? [...this.gone] : []
    for (const node of holders.filter(({ isUp }) => isUp)) {
      for (const id of [...gone, ...this.live]) {
        if (LARGE.has(id)) continue
        const found = await this.#real.settle(this.#read(node, id))
        const isLive = this.live.has(id)
        const isBytes = found instanceof Buffer
        if (isBytes ? isLive && found.equals(dataOf(id)) : !isLive) continue
        if (!isBytes && found !== 'NEEDLE_NOT_FOUND') continue
        lies.push(`${isLive ? 'live' : 'deleted'} needle ${id} at ${node.url}: ${isBytes || found}`)
      }
    }
    return lies
  }

  /** The bytes, or what it fails with. */
  async #read({ api }: PoweredNode, id: number): Promise<Buffer | string> {
    const request = { fileId: fid(id), range: undefined, readDeleted: false, readToken: '' }
    try {
      await using content = await api.read(request, SIGNAL)
      return Buffer.concat(await collect(content.data))
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      return error.code
    }
  }
}
