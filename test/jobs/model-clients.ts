import { copyCount } from '../../src/base/replica-placement.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import type { Prng } from '../support/prng.ts'
import type { ModelCluster, ModelVolume } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'
import type { ModelShardSet } from './model-shards.ts'

/** What readers may see of a needle. */
interface Promised {
  /** `live`: acked. `gone`: its delete was acked. `open`: nothing was promised. */
  state: 'live' | 'gone' | 'open'
  contents: Set<number>
}

/** Where a writer believes the volume to be. */
interface Places {
  /** Undefined: it has copies. */
  readonly runId: string | undefined
  readonly servers: ReadonlyMap<string, ModelCopy | undefined>
  /** So many servers have to have a write, or there is a record. */
  readonly wanted: number
}

/** A write on its way: to every copy its server knew of, and waiting where that is frozen. */
interface Write {
  /** Undefined: it is for copies. */
  readonly runId: string | undefined
  /** A delete is done to everything of the volume that a server has. */
  readonly isThorough: boolean
  /** So many servers have to have it, or there is a record. */
  readonly wanted: number
  readonly needle: number
  /** Undefined: a delete. */
  readonly content: number | undefined
  readonly sizeBytes: number
  readonly isBestEffort: boolean
  /** The copies it is for; a new one under the same url does not take it. */
  readonly remaining: Map<string, ModelCopy | undefined>
  readonly missing: Set<string>
  readonly applied: Set<string>
  /** Some server took it for what counted as far as the writer knew. */
  hasCounted: boolean
  wasLive: boolean
}

const NEEDLES_MAX = 14

/**
 * Writers that put, overwrite and delete as volume servers do: to all members at once, some of them
 * by an old list of members. Remembers what was promised to whom.
 */
export class ModelClients {
  readonly #cluster: ModelCluster
  readonly #volume: ModelVolume
  readonly #prng: Prng
  readonly #promised = new Map<number, Promised>()
  readonly #writes = new Set<Write>()
  #oldPlaces: Places | undefined
  #nextNeedle = 1

  constructor(cluster: ModelCluster, volume: ModelVolume, prng: Prng) {
    this.#cluster = cluster
    this.#volume = volume
    this.#prng = prng
  }

  /** Everything that was promised to be there, and is not being changed. */
  get promisedNeedles(): readonly number[] {
    return [...this.#promised]
      .filter(([needle, { state }]) => state === 'live' && !this.#isBusy(needle))
      .map(([needle]) => needle)
  }

  get hasWrites(): boolean {
    return this.#writes.size > 0
  }

  get goneNeedles(): readonly number[] {
    return [...this.#promised].filter(([, { state }]) => state === 'gone').map(([needle]) => needle)
  }

  /** Deleted, as was promised, and to be read where it counts, although nobody has a record. */
  get returnedNeedles(): readonly number[] {
    const copies = this.#cluster.liveMembers(this.#volume)
    const shards = this.#cluster.liveShards(this.#volume)
    return this.goneNeedles.filter((needle) => {
      if (this.#volume.dirty.get(needle)?.kind === 'delete') return false
      const isInCopy = copies.some(({ copy }) => copy.isLive(needle))
      return isInCopy || shards.some(({ set }) => set.isLive(needle))
    })
  }

  /** Lists of where the volume is that were learnt before a server went away are of no use. */
  forgetOld(): void {
    this.#oldPlaces = undefined
  }

  /**
   * Healthy members that have it as promised. Of a coded volume: the servers of as many good shards
   * as are more than are needed to read it, and one.
   */
  holders(needle: number): readonly string[] {
    const { contents } = this.#promised.get(needle) ?? {}
    const { stripe } = this.#volume
    if (stripe !== undefined) {
      const isHere = this.#cluster.liveShards(this.#volume).every(({ set }) => {
        const content = set.image.needles.get(needle)?.content
        return content !== undefined && contents?.has(content) === true && set.isLive(needle)
      })
      const good = this.#cluster.goodShards(this.#volume).map(({ url }) => url)
      return isHere ? good.slice(stripe.dataShards - 1) : []
    }
    return this.#cluster
      .liveMembers(this.#volume)
      .filter(({ copy }) => {
        const content = copy.isSound ? copy.good(needle) : undefined
        return content !== undefined && contents?.has(content) === true
      })
      .map(({ url }) => url)
  }

  /** One random thing, or writes that waited going on. */
  act(): void {
    this.pump()
    const prng = this.#prng
    if (this.#volume.isDeleted) return
    const members = this.#cluster.liveMembers(this.#volume)
    const isCoded = this.#volume.stripe !== undefined
    const isSealed = isCoded || members.some(({ copy }) => copy.state === 'sealed')
    const needles = [...this.#promised.keys()].filter((needle) => !this.#isBusy(needle))
    const living = needles.filter((needle) => this.#promised.get(needle)?.state === 'live')
    if (living.length > 0 && prng.chance(0.25)) this.#delete(prng.pick(living))
    else if (isSealed) return
    else if (living.length > 0 && prng.chance(0.15)) this.#overwrite(prng.pick(living))
    else if (living.length < NEEDLES_MAX) this.#put()
  }

  /** Writes that wait go on where nothing is frozen any more. */
  pump(): void {
    for (const write of [...this.#writes]) this.#goOn(write)
  }

  /** What was promised and is not so; undefined: all is. */
  broken(): string | undefined {
    const { stripe } = this.#volume
    for (const [needle, { state, contents }] of this.#promised) {
      for (const { url, set } of this.#cluster.liveShards(this.#volume)) {
        const content = set.image.needles.get(needle)?.content
        if (state === 'gone' && set.isLive(needle)) return `${needle} came back at ${url}`
        if (state !== 'live') continue
        if (!set.isLive(needle)) return `${needle} is missing at ${url}`
        if (!contents.has(content ?? 0)) return `${needle} has wrong bytes at ${url}`
      }
      if (stripe !== undefined && state === 'live') {
        const good = this.#cluster.goodShards(this.#volume).length
        if (good < stripe.dataShards) return `${needle} cannot be read`
      }
      for (const { url, copy } of this.#cluster.liveMembers(this.#volume)) {
        const content = copy.good(needle)
        if (state === 'gone' && copy.isLive(needle)) return `${needle} came back at ${url}`
        if (state !== 'live') continue
        if (content === undefined) return `${needle} is missing at ${url}`
        if (!contents.has(content)) return `${needle} has wrong bytes at ${url}`
      }
    }
    return undefined
  }

  #put(): void {
    const needle = this.#nextNeedle++
    const content = this.#cluster.newContent()
    this.#promised.set(needle, { state: 'open', contents: new Set([content]) })
    this.#begin(needle, content, this.#prng.between(1, 9))
  }

  /** With other bytes of the same length, which is what digests do not show. */
  #overwrite(needle: number): void {
    const copies = this.#cluster.liveMembers(this.#volume)
    const sizeBytes = copies[0]?.copy.entry(needle)?.record.sizeBytes
    if (sizeBytes === undefined) return
    const content = this.#cluster.newContent()
    if (this.#begin(needle, content, sizeBytes)) this.#promised.get(needle)?.contents.add(content)
  }

  #delete(needle: number): void {
    this.#begin(needle, undefined, 0)
  }

  #begin(needle: number, content: number | undefined, sizeBytes: number): boolean {
    const now = this.#places()
    const old = this.#oldPlaces
    const isStale = this.#prng.chance(0.2) && old !== undefined && old.servers.size >= old.wanted
    const known = isStale ? old : now
    this.#oldPlaces = now
    const isBestEffort = !isStale && this.#prng.chance(0.5)
    const { servers, wanted, runId } = known
    const isShort = servers.size < wanted
    if (servers.size === 0 || (isShort && !isBestEffort && content !== undefined)) return false
    const write = {
      wanted,
      runId,
      isThorough: this.#prng.chance(0.5),
      needle,
      content,
      sizeBytes,
      isBestEffort,
      remaining: new Map(servers),
      missing: new Set<string>(),
      applied: new Set<string>(),
      hasCounted: false,
      wasLive: false,
    }
    this.#writes.add(write)
    // Whoever put it over something else may have changed it somewhere from now on.
    if (content === undefined) this.#promise(needle).state = 'open'
    this.#goOn(write)
    return true
  }

  #goOn(write: Write): void {
    for (const [url, known] of [...write.remaining]) {
      const { copy, sets } = this.#aimOf(write, url, known)
      const isCoded = write.runId !== undefined
      const stampNs = this.#cluster.clock.stampNs()
      if ((copy !== undefined || sets.length > 0) && this.#isFrozen(url)) continue
      write.remaining.delete(url)
      try {
        const isThere = copy !== undefined || (sets.length > 0 && write.content === undefined)
        if (!isThere) write.missing.add(url)
        else {
          this.#apply(write, copy, sets, stampNs)
          write.applied.add(url)
          write.hasCounted ||= copy !== undefined || isCoded
        }
      } catch (error) {
        if (!isStoreError(error)) throw error
        write.missing.add(url)
      }
    }
    if (write.remaining.size === 0) this.#end(write)
  }

  /** What there is now of what the writer knew of, and at times all else that is beside it. */
  #aimOf({ runId, isThorough }: Write, url: string, known: ModelCopy | undefined) {
    const node = this.#cluster.node(url)
    if (!node.isUp) return { copy: undefined, sets: [] }
    const found = this.#copyAt(url)
    const all = node.setsOf(this.#volume.volumeId)
    if (runId === undefined) {
      return { copy: found === known ? found : undefined, sets: isThorough ? all : [] }
    }
    const ofRun = all.filter((set) => set.runId === runId)
    const sets = isThorough || ofRun.length === 0 ? all : ofRun
    return { copy: isThorough || all.length === 0 ? found : undefined, sets }
  }

  #apply(
    write: Write,
    copy: ModelCopy | undefined,
    sets: readonly ModelShardSet[],
    stampNs: bigint,
  ): void {
    const { needle, content, sizeBytes } = write
    if (content !== undefined) {
      if (copy?.state === 'sealed') throw new StoreError('VOLUME_SEALED', 'no more puts')
      copy?.put(needle, content, sizeBytes, stampNs)
      return
    }
    if (copy?.delete(needle, stampNs) === true) write.wasLive = true
    for (const set of sets) {
      if (set.isLive(needle)) write.wasLive = true
      set.delete(needle, this.#cluster.clock.nowMs())
    }
  }

  #end(write: Write): void {
    const { needle, content, applied, missing } = write
    this.#writes.delete(write)
    if (this.#volume.isDeleted) return
    const promise = this.#promise(needle)
    const { wanted } = write
    const isEverywhere = missing.size === 0 && applied.size >= wanted
    const kind = content === undefined ? 'delete' : 'put'
    if (!isEverywhere) this.#cluster.recordDirty(this.#volume, needle, kind)
    // Shards that a server has beside a copy that went elsewhere are nobody's business.
    if (applied.size === 0 || !write.hasCounted) {
      // Nothing has happened anywhere, as far as the writer knows: a delete may still come.
      return
    }
    if (content === undefined) {
      // Whoever is told that it was not there is promised nothing.
      if (write.wasLive) promise.state = 'gone'
    } else if (isEverywhere || write.isBestEffort) {
      promise.state = 'live'
      promise.contents = new Set([content])
    }
  }

  #places(): Places {
    const { members, stripe, replication } = this.#volume
    if (stripe !== undefined) {
      // Also those that are away: a delete has to reach each of them, or be recorded.
      const servers = new Map(stripe.shards.map(({ url }) => [url, undefined]))
      return { runId: stripe.runId, servers, wanted: servers.size }
    }
    const urls = members.map(({ url }) => url).filter((url) => this.#cluster.node(url).isUp)
    const servers = new Map(urls.map((url) => [url, this.#copyAt(url)]))
    return { runId: undefined, servers, wanted: copyCount(replication) }
  }

  #isFrozen(url: string): boolean {
    const untilMs = this.#cluster.node(url).frozenUntilMs.get(this.#volume.volumeId) ?? 0
    return untilMs > this.#cluster.clock.nowMs()
  }

  #copyAt(url: string): ModelCopy | undefined {
    return this.#cluster.node(url).copies.get(this.#volume.volumeId)
  }

  #promise(needle: number): Promised {
    const promised = this.#promised.get(needle) ?? { state: 'open', contents: new Set<number>() }
    this.#promised.set(needle, promised)
    return promised
  }

  #isBusy(needle: number): boolean {
    return [...this.#writes].some((write) => write.needle === needle)
  }
}
