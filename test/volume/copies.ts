import { StoreError } from '../../src/base/store-error.ts'
import type { VolumeApi } from '../../src/net/volume-api.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { fid, LocalCluster, LocalNode } from './local-node.ts'

/** What one of the other servers does with a write. */
const FAULTS = {
  /** Out of reach: nothing gets there. */
  down: () => Promise.reject(new StoreError('UNAVAILABLE', 'connection refused')),
  /** Nothing gets there, and nothing comes back. */
  hangs: () => new Promise<never>(() => undefined),
  /** Stored, and then the connection breaks. */
  'breaks after it stored': async (write: () => Promise<unknown>) => {
    await write()
    throw new StoreError('UNAVAILABLE', 'connection reset')
  },
  /** Stored, and no answer ever. */
  'hangs after it stored': async (write: () => Promise<unknown>) => {
    await write()
    return await new Promise<never>(() => undefined)
  },
  /** Certainly not stored. */
  refuses: () => Promise.reject(new StoreError('DISK_FULL', 'no room')),
} as const

export type Fault = keyof typeof FAULTS
export const ALL_FAULTS = Object.keys(FAULTS) as Fault[]
/** Several servers with a copy of volume 3 each. */
export class Copies implements AsyncDisposable {
  readonly cluster = new LocalCluster()
  readonly nodes: LocalNode[] = []

  static async open(count: number): Promise<Copies> {
    const copies = new Copies()
    for (let port = 1; port <= count; port++) {
      const node = await LocalNode.open(copies.cluster, port)
      await node.allocate(3, `00${count - 1}`)
      copies.nodes.push(node)
    }
    copies.cluster.master.known.set(
      vid(3),
      copies.nodes.map(({ location }) => location),
    )
    // The places are known from here on.
    await copies.at(1).put(3, 1000, 'first')
    return copies
  }

  at(port: number): LocalNode {
    const node = this.nodes[port - 1]
    if (node === undefined) throw new Error(`no node ${port}`)
    return node
  }

  /** Writes to this server go wrong from now on, until `mend`. */
  break(port: number, fault: Fault): void {
    const { api, location } = this.at(port)
    const wrong = <Request>(write: (request: Request, signal: AbortSignal) => Promise<unknown>) =>
      ((request: Request) => FAULTS[fault](() => write(request, SIGNAL))) as never
    const broken: Partial<VolumeApi> = {
      put: wrong(api.put.bind(api)),
      putStream: wrong(api.putStream.bind(api)),
      delete: wrong(api.delete.bind(api)),
    }
    const isBroken = (name: string | symbol): name is keyof VolumeApi => name in broken
    this.cluster.nodes.set(
      location.url,
      new Proxy<VolumeApi>(api, {
        get: (target, name) =>
          isBroken(name) ? broken[name] : Reflect.get(target, name).bind(target),
      }),
    )
  }

  mend(port: number): void {
    const { api, location } = this.at(port)
    this.cluster.nodes.set(location.url, api)
  }

  setMasterAway(isAway: boolean): void {
    this.cluster.master.failure = isAway ? new StoreError('UNAVAILABLE', 'no master') : undefined
  }

  /** Lets time pass until the write has its answer; and how much that was. */
  async settle<Answer>(
    write: Promise<Answer>,
  ): Promise<{ readonly answer?: Answer; readonly code: string; readonly ms: number }> {
    const { clock } = this.cluster
    const startedMs = clock.monotonicMs()
    let outcome: { readonly answer?: Answer; readonly code: string } | undefined
    write.then(
      (answer) => {
        outcome = { answer, code: 'done' }
      },
      (error: unknown) => {
        outcome = { code: error instanceof StoreError ? error.code : String(error) }
      },
    )
    for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 250) {
      // A simulated disk takes some turns for each call, and no time.
      for (let turn = 0; turn < 25 && outcome === undefined; turn++) await clock.advance(0)
      if (outcome !== undefined) return { ...outcome, ms: clock.monotonicMs() - startedMs }
      await clock.advance(250)
    }
    throw new Error('no answer within a minute')
  }

  async textAt(port: number, needle: number): Promise<string> {
    const { needleId: id, cookie } = fid(3, needle)
    const { volume } = this.at(port).opened.store.get(vid(3))
    try {
      const found = await volume.read({ id, cookie })
      return 'data' in found ? found.data.toString() : 'large'
    } catch (error) {
      return error instanceof StoreError ? error.code : String(error)
    }
  }

  get dirty() {
    return this.cluster.master.dirty.map(({ needleId, kind, unreached }) => ({
      needle: needleId.lo,
      kind,
      unreached,
    }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node[Symbol.asyncDispose]()
  }
}

/** A put of a body of unknown length. */
export const stream = (node: LocalNode, needle: number, text: string) => {
  const source = (async function* () {
    yield Buffer.from(text)
  })()
  const head = { fileId: fid(3, needle), metadata: {}, writeToken: '', isReplica: false }
  return node.api.putStream({ ...head, source }, SIGNAL)
}
