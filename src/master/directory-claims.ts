import type { DiskReport } from '../net/master-api.ts'

/** A directory that does not count where it is served. */
export interface IgnoredDirectory {
  readonly directoryId: string
  readonly url: string
  /** `twice`: another server serves it as well, and had it first. */
  readonly why: 'foreign' | 'twice'
  /** Of another cluster, or the server that counts. */
  readonly other: string
}

/**
 * Which server's word counts for a directory. One that carries the id of another cluster counts
 * nowhere. A directory whose server went away counts wherever it turns up. One that two servers
 * were seen to have at the same time is a directory and its twin, made by copying files: the twin
 * does not count, not even while the other one is away, since nobody knows how old it is.
 */
export class DirectoryClaims {
  readonly #clusterId: string
  readonly #isUp: (url: string) => boolean
  readonly #owners = new Map<string, string>()
  /** Servers that list a directory of ours, in the order in which they began to. */
  readonly #servers = new Map<string, Set<string>>()
  readonly #listed = new Map<string, readonly DiskReport[]>()
  readonly #twins = new Set<string>()

  /** An empty `clusterId` knows no strangers. */
  constructor(options: { readonly clusterId: string }, isUp: (url: string) => boolean) {
    this.#clusterId = options.clusterId
    this.#isUp = isUp
  }

  /** The server whose copies in this directory count; undefined: nobody lists it. */
  owner(directoryId: string): string | undefined {
    return this.#owners.get(directoryId)
  }

  isIgnored(url: string, directoryId: string): boolean {
    const owner = this.#owners.get(directoryId)
    if (owner === url) return false
    const disks = this.#listed.get(url) ?? []
    return disks.some((disk) => disk.directoryId === directoryId)
  }

  /** Servers that list the directory, whether it counts there or not. */
  servers(directoryId: string): Iterable<string> {
    return this.#servers.get(directoryId) ?? []
  }

  /** Has heard what the server lists now. The directories that count elsewhere since. */
  onDisks(url: string, disks: readonly DiskReport[]): Set<string> {
    const before = this.#listed.get(url) ?? []
    this.#listed.set(url, disks)
    const ours = new Set(disks.filter((disk) => !this.#isForeign(disk)).map(idOf))
    for (const id of ours) {
      const servers = this.#servers.get(id)
      if (servers === undefined) this.#servers.set(id, new Set([url]))
      else servers.add(url)
      if (this.#owners.get(id) === url) this.#noteTwins(id, url)
    }
    for (const { directoryId } of before) {
      if (!ours.has(directoryId)) this.#unlist(directoryId, url)
    }
    return this.#resolve(new Set([...ours, ...before.map(idOf)]))
  }

  /** The server is up or down now. The directories that count elsewhere since. */
  onState(url: string): Set<string> {
    return this.#resolve(new Set((this.#listed.get(url) ?? []).map(idOf)))
  }

  forget(url: string): Set<string> {
    for (const { directoryId } of this.#listed.get(url) ?? []) {
      if (this.#owners.get(directoryId) !== url) continue
      for (const other of this.servers(directoryId)) this.#twins.delete(twinKey(other, directoryId))
    }
    const changed = this.onDisks(url, [])
    this.#listed.delete(url)
    return changed
  }

  /** Those on servers that are up. */
  ignored(): IgnoredDirectory[] {
    const found: IgnoredDirectory[] = []
    for (const [url, disks] of this.#listed) {
      if (!this.#isUp(url)) continue
      for (const disk of disks) {
        const { directoryId, clusterId } = disk
        if (this.#isForeign(disk)) {
          found.push({ directoryId, url, why: 'foreign', other: clusterId })
        } else if (this.#owners.get(directoryId) !== url) {
          const other = this.#owners.get(directoryId) ?? ''
          found.push({ directoryId, url, why: 'twice', other })
        }
      }
    }
    return found
  }

  #isForeign({ clusterId }: DiskReport): boolean {
    return clusterId !== '' && this.#clusterId !== '' && clusterId !== this.#clusterId
  }

  /** The owner has said again that it has the directory: whoever else has it now has a twin. */
  #noteTwins(directoryId: string, ownerUrl: string): void {
    for (const url of this.servers(directoryId)) {
      if (url !== ownerUrl && this.#isUp(url)) this.#twins.add(twinKey(url, directoryId))
    }
  }

  #unlist(directoryId: string, url: string): void {
    this.#twins.delete(twinKey(url, directoryId))
    const servers = this.#servers.get(directoryId)
    servers?.delete(url)
    if (servers?.size === 0) this.#servers.delete(directoryId)
  }

  #resolve(directoryIds: ReadonlySet<string>): Set<string> {
    const changed = new Set<string>()
    for (const id of directoryIds) {
      const before = this.#owners.get(id)
      const servers = [...this.servers(id)].filter((url) => !this.#twins.has(twinKey(url, id)))
      const isBeforeListed = before !== undefined && servers.includes(before)
      if (isBeforeListed && this.#isUp(before)) continue
      const stays = isBeforeListed ? before : servers[0]
      const now = servers.find((url) => this.#isUp(url)) ?? stays
      if (now === before) continue
      if (now === undefined) this.#owners.delete(id)
      else this.#owners.set(id, now)
      changed.add(id)
    }
    return changed
  }
}

function idOf(disk: DiskReport): string {
  return disk.directoryId
}

function twinKey(url: string, directoryId: string): string {
  return `${url} ${directoryId}`
}
