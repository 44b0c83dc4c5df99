import { copyCount } from '../../src/base/replica-placement.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import type { Prng } from '../support/prng.ts'
import type { ModelCluster, ModelVolume } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'

/** What readers may see of a needle. */
interface Promised {
  /** `live`: acked. `gone`: its delete was acked. `open`: nothing was promised. */
  state: 'live' | 'gone' | 'open'
  contents: Set<number>
}

/** A write on its way: to every copy its server knew of, and waiting where that is frozen. */
interface Write {
  readonly needle: number
  /** Undefined: a delete. */
  readonly content: number | undefined
  readonly sizeBytes: number
  readonly isBestEffort: boolean
  /** The copies it is for; a new one under the same url does not take it. */
  readonly remaining: Map<string, ModelCopy | undefined>
  readonly missing: Set<string>
  readonly applied: Set<string>
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
  #oldCopies: ReadonlyMap<string, ModelCopy | undefined> = new Map()
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

  /** Healthy members that have it as promised. */
  holders(needle: number): readonly string[] {
    const { contents } = this.#promised.get(needle) ?? {}
    return this.#cluster
      .liveMembers(this.#volume)
      .filter(({ copy }) => {
        const content = copy.isWritable ? copy.good(needle) : undefined
        return content !== undefined && contents?.has(content) === true
      })
      .map(({ url }) => url)
  }

  /** One random thing, or writes that waited going on. */
  act(): void {
    this.pump()
    const prng = this.#prng
    if (this.#volume.isDeleted) return
    const needles = [...this.#promised.keys()].filter((needle) => !this.#isBusy(needle))
    const living = needles.filter((needle) => this.#promised.get(needle)?.state === 'live')
    if (living.length > 0 && prng.chance(0.25)) this.#delete(prng.pick(living))
    else if (living.length > 0 && prng.chance(0.15)) this.#overwrite(prng.pick(living))
    else if (living.length < NEEDLES_MAX) this.#put()
  }

  /** Writes that wait go on where nothing is frozen any more. */
  pump(): void {
    for (const write of [...this.#writes]) this.#goOn(write)
  }

  /** What was promised and is not so; undefined: all is. */
  broken(): string | undefined {
    for (const [needle, { state, contents }] of this.#promised) {
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
    const { members } = this.#volume
    const wanted = copyCount(this.#volume.replication)
    const urls = members.map(({ url }) => url).filter((url) => this.#cluster.node(url).isUp)
    const copies = new Map(urls.map((url) => [url, this.#copyAt(url)]))
    const isStale = this.#prng.chance(0.2) && this.#oldCopies.size >= wanted
    const known = isStale ? this.#oldCopies : copies
    this.#oldCopies = copies
    const isBestEffort = !isStale && this.#prng.chance(0.5)
    const isShort = known.size < wanted
    if (known.size === 0 || (isShort && !isBestEffort && content !== undefined)) return false
    const write = {
      needle,
      content,
      sizeBytes,
      isBestEffort,
      remaining: new Map(known),
      missing: new Set<string>(),
      applied: new Set<string>(),
    }
    this.#writes.add(write)
    // Whoever put it over something else may have changed it somewhere from now on.
    if (content === undefined) this.#promise(needle).state = 'open'
    this.#goOn(write)
    return true
  }

  #goOn(write: Write): void {
    for (const [url, known] of [...write.remaining]) {
      const found = this.#cluster.node(url).isUp ? this.#copyAt(url) : undefined
      const copy = found === known ? found : undefined
      const nowMs = this.#cluster.clock.nowMs()
      const stampNs = this.#cluster.clock.stampNs()
      if (copy !== undefined && copy.frozenUntilMs > nowMs) continue
      write.remaining.delete(url)
      try {
        if (copy === undefined) write.missing.add(url)
        else {
          if (write.content === undefined) copy.delete(write.needle, stampNs)
          else copy.put(write.needle, write.content, write.sizeBytes, stampNs)
          write.applied.add(url)
        }
      } catch (error) {
        if (!isStoreError(error)) throw error
        write.missing.add(url)
      }
    }
    if (write.remaining.size === 0) this.#end(write)
  }

  #end(write: Write): void {
    const { needle, content, applied, missing } = write
    this.#writes.delete(write)
    if (this.#volume.isDeleted) return
    const promise = this.#promise(needle)
    const wanted = copyCount(this.#volume.replication)
    const isEverywhere = missing.size === 0 && applied.size >= wanted
    const kind = content === undefined ? 'delete' : 'put'
    if (!isEverywhere) this.#cluster.recordDirty(this.#volume, needle, kind)
    if (applied.size === 0) {
      // Nothing has happened anywhere, as far as the writer knows: a delete may still come.
      return
    }
    if (content === undefined) {
      promise.state = 'gone'
    } else if (isEverywhere || write.isBestEffort) {
      promise.state = 'live'
      promise.contents = new Set([content])
    }
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
