import type { ErasureScheme } from '../../src/base/erasure-scheme.ts'
import { copyCount } from '../../src/base/replica-placement.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { decodeEcJournal } from '../../src/format/ec-journal.ts'
import type { JobPhase } from '../../src/jobs/job.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import type { ShardApi, ShardFilePiece } from '../../src/net/shard-api.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { collect } from '../volume/local-node.ts'
import { CodedRealNodes, type CodedRealOptions, VOLUME } from './coded-real-nodes.ts'
import type { PoweredNode } from './powered-node.ts'
import type { RealJobResult } from './real-job.ts'

export type CodedKind = Extract<JobKind, `ec-${string}`>

export const CODED_KINDS = [
  'ec-encode',
  'ec-repair',
  'ec-balance',
  'ec-vacuum',
  'ec-decode',
] as const satisfies readonly CodedKind[]

export const TWO_AND_ONE: ErasureScheme = { dataShards: 2, parityShards: 1 }
export const THREE_AND_TWO: ErasureScheme = { dataShards: 3, parityShards: 2 }

const ATTEMPTS_MAX = 12
/** Freezes have ended, and servers had time to say what they do not have. */
const CALM_MS = 15_000

/** One job with something to do, until it has done it, whoever dies meanwhile. */
export class CodedScene implements AsyncDisposable {
  readonly real: CodedRealNodes
  readonly kind: CodedKind
  readonly target: JobTarget
  readonly #id: number
  #attempts = 0
  #cursor = ''
  last: RealJobResult | undefined

  private constructor(real: CodedRealNodes, kind: CodedKind) {
    this.real = real
    this.kind = kind
    this.target = kind === 'ec-encode' ? { erasure: real.scheme } : {}
    this.#id = real.newJobId()
  }

  static async open(
    kind: CodedKind,
    options: Omit<CodedRealOptions, 'isCoded'>,
  ): Promise<CodedScene> {
    const real = await CodedRealNodes.open({ ...options, isCoded: kind !== 'ec-encode' })
    const scene = new CodedScene(real, kind)
    await scene.#prepare()
    return scene
  }

  get isDone(): boolean {
    return this.last?.outcome === 'done'
  }

  async attempt(
    isDeadAt?: (phase: JobPhase) => boolean,
    onTurn?: () => Promise<void>,
  ): Promise<RealJobResult> {
    const { kind, target } = this
    const request = { kind, target, id: this.#id, attempts: ++this.#attempts, cursor: this.#cursor }
    this.last = await this.real.attempt({ ...request, ...(isDeadAt && { isDeadAt }) }, onTurn)
    this.#cursor = this.last.cursor
    const { outcome, error } = this.last
    if (outcome === 'failed' && !isStoreError(error)) throw error
    return this.last
  }

  /** Everything is up again: what is begun is finished, and repaired what is not as it shall be. */
  async finish(): Promise<void> {
    const { real } = this
    await real.startAll()
    await real.pass(CALM_MS)
    await real.client.settle()
    for (let round = 0; !this.isDone || this.fault() !== undefined; round++) {
      if (round >= ATTEMPTS_MAX) throw new Error(`${this.fault()}: ${this.last?.error}`)
      if (!this.isDone) await this.attempt()
      if (this.isDone && this.fault() === undefined) return
      // As a scheduler would queue it.
      const kind = real.facts.stripe === undefined ? 'replica-repair' : 'ec-repair'
      await real.attempt({ kind })
      if (real.facts.stripe === undefined) await real.attempt({ kind: 'ec-repair' })
      await real.pass(CALM_MS)
    }
  }

  /** Why the volume is not what it shall be; undefined: it is. */
  fault(): string | undefined {
    const { facts } = this.real
    const { stripe, strayShards = [], strays, dirtyCount, members } = facts
    if (strays.length > 0) return `strays at ${strays.map(({ location }) => location.url)}`
    if (strayShards.length > 0) {
      const places = strayShards.map(({ location, shards }) => `${shards}@${location.url}`)
      return `stray shards ${places}`
    }
    if (dirtyCount > 0) return `${dirtyCount} dirty`
    const isCoded = stripe !== undefined
    if (isCoded === (this.kind === 'ec-decode')) return isCoded ? 'it is coded' : 'it is not coded'
    if (stripe === undefined) {
      const good = members.filter(({ report, isUp }) => isUp && report !== undefined)
      return good.length === copyCount(facts.replication) ? undefined : `${good.length} copies`
    }
    const bad = stripe.shards.filter(({ report, isUp, isBad }) => !isUp || isBad || !report)
    if (bad.length > 0) return `shards ${bad.map(({ shard }) => shard)} are not good`
    const journals = new Set(stripe.shards.map(({ report }) => report?.journalDigest))
    return journals.size > 1 ? 'journals differ' : this.#unmet()
  }

  /** After `finish`: what should be kept and is not, in words; also after a restart of all. */
  async broken(): Promise<string> {
    const { real } = this
    const before = await real.client.wrong(false)
    if (before.length > 0) return before.join('\n')
    const files = await this.#files()
    for (const node of real.nodes) {
      if (real.prng.chance(0.5)) await real.settle(node.restart())
      else await node.start()
    }
    // What was removed on a disk that failed may be back.
    await this.finish()
    const after = [...(await real.client.wrong(true)), ...(await this.#brokenFiles())]
    for (const node of real.nodes) after.push(...(await this.#leftOver(node)))
    const kept = await this.#files()
    for (const extension of ['ecx', 'vif', 'ecsum'] as const) {
      if (kept[extension] !== files[extension]) after.push(`.${extension} has changed`)
    }
    if (!hasAll(kept.ecj, files.ecj)) after.push('.ecj has lost something')
    return after.join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.real[Symbol.asyncDispose]()
  }

  async #prepare(): Promise<void> {
    const { real, kind } = this
    const { client, nodes, scheme } = real
    await client.deleteSome(2)
    if (kind === 'ec-vacuum') {
      for (const id of [5, 6, 7, 8, 41]) await real.settle(client.delete(id))
    }
    const [first, second, third] = real.shards
    if (kind === 'ec-balance') await real.master.drain(first?.location.url ?? '')
    if (kind !== 'ec-repair' || first === undefined || second === undefined) return
    const runId = real.facts.stripe?.runId ?? ''
    const command = { epoch: 1, volumeId: VOLUME, runId }
    // A server has missed a delete,
    const missed = [...client.live].find((id) => id > 10) ?? 0
    const needleId = { hi: 0, lo: missed }
    for (const { url } of real.holders.filter(({ url }) => url !== second.location.url)) {
      const told = { ...command, needleIds: [needleId] }
      await real.settle(real.at(url).api.shards.journalDeletes(told, SIGNAL))
    }
    client.live.delete(missed)
    client.gone.add(missed)
    const record = { volumeId: VOLUME, needleId, reportedBy: '', unreached: [] }
    await real.master.recordDirty([{ ...record, kind: 'delete' }])
    // one has a shard that does not count,
    const free = nodes.find(({ url }) => real.shards.every(({ location }) => location.url !== url))
    const copy = { ...command, collection: '', source: second.location, politeness: 0 }
    const copying = free?.api.shards.copyShards({ ...copy, shards: [second.shard] }, SIGNAL)
    if (copying !== undefined) await real.settle(collect(copying))
    // one has lost a shard,
    const lost = real.at(first.location.url).api.shards
    await real.settle(lost.deleteShards({ ...command, shards: [first.shard] }, SIGNAL))
    // and if the others can do without, one has a bad block.
    if (scheme.parityShards > 1 && third !== undefined) {
      const path = `/a/7.ec-${runId}/7.ec0${third.shard}`
      real.at(third.location.url).node.disk.flipBit(path, real.prng.below(100_000), 3)
      const other = { hi: 0, lo: Math.max(...client.live) }
      await real.master.recordDirty([{ ...record, needleId: other, kind: 'check' }])
    }
    await real.pass(CALM_MS)
  }

  #unmet(): string | undefined {
    const { real, kind } = this
    const { standings } = real.master.state.cluster
    if (kind === 'ec-balance') {
      const left = real.shards.filter(({ location: { url } }) => standings.isDraining(url))
      return left.length > 0 ? `shards ${left.map(({ shard }) => shard)} have to leave` : undefined
    }
    if (kind !== 'ec-vacuum') return undefined
    // The large one that was deleted before is not coded any more.
    const datBytesMax = real.isLarge ? 2_000_000 : 1_000_000
    const isSmaller = real.shards.every(({ report }) => (report?.datBytes ?? 0) < datBytesMax)
    return isSmaller ? undefined : 'garbage is left'
  }

  async #brokenFiles(): Promise<string[]> {
    const { real } = this
    const { runId } = real.facts.stripe ?? {}
    const wrong: string[] = []
    for (const node of runId === undefined ? [] : real.holders) {
      const command = { volumeId: VOLUME, runId: runId ?? '', shards: [], politeness: 0 }
      const found = await real.settle(collect(node.api.shards.verifyShards(command, SIGNAL)))
      for (const { shard, block } of found.flatMap(({ badBlocks }) => badBlocks)) {
        wrong.push(`block ${block} of shard ${shard} at ${node.url} is bad`)
      }
    }
    return wrong
  }

  /** Files and directories of the volume that belong to nothing that counts. */
  async #leftOver({ url, node: { disk } }: PoweredNode): Promise<string[]> {
    const { members, stripe } = this.real.facts
    const isHolder = this.real.holders.some((holder) => holder.url === url)
    const names = (await disk.list('/a')).map(({ name }) => name)
    const left = names.filter((name) => {
      if (OF_DIRECTORY.test(name)) return false
      if (isHolder && members.length > 0) return !OF_COPY.test(name)
      return !isHolder || name !== `7.ec-${stripe?.runId}`
    })
    return left.map((name) => `${name} is left at ${url}`)
  }

  /** What lies beside the shards, which is the same at each server that has any. */
  async #files(): Promise<Record<ShardFilePiece['extension'], string>> {
    const { real } = this
    const { runId } = real.facts.stripe ?? {}
    const all = { ecx: '', ecj: '', vif: '', ecsum: '' }
    for (const { api, url } of runId === undefined ? [] : real.holders) {
      const files = await readFiles(api.shards, runId ?? '')
      for (const extension of ['ecx', 'ecj', 'vif', 'ecsum'] as const) {
        const text = files[extension].toString('hex')
        all[extension] ||= text
        const isSame = extension === 'ecj' ? hasAll(text, all.ecj) : text === all[extension]
        if (!isSame) throw new Error(`.${extension} at ${url} differs`)
      }
    }
    return all
  }
}

/** The one journal has every id that the other has. */
function hasAll(journal: string, other: string): boolean {
  const idsOf = (hex: string) => decodeEcJournal(Buffer.from(hex, 'hex')).ids.map(({ lo }) => lo)
  const ids = new Set(idsOf(journal))
  return idsOf(other).every((id) => ids.has(id))
}

async function readFiles(shards: ShardApi, runId: string) {
  const files = { ecx: EMPTY, ecj: EMPTY, vif: EMPTY, ecsum: EMPTY }
  const pieces = await collect(shards.readShardFiles({ volumeId: VOLUME, runId }, SIGNAL))
  for (const { extension, data } of pieces) {
    files[extension] = Buffer.concat([files[extension], data])
  }
  return files
}

const EMPTY = Buffer.alloc(0)

/** A file of the directory itself; what is left of its drafts is written anew with the next one. */
const OF_DIRECTORY = /^(vol_dir\.uuid|epoch(\.tmp)?|hayloft\..*|ballast|cluster.*)$/
const OF_COPY = /^7\.(dat|idx|sum|vif)$/
