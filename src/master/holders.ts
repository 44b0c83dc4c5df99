import type { VolumeId } from '../base/ids.ts'

/** Which servers hold something of a volume, by their urls. A volume without any is not known. */
export class Holders<Node> {
  readonly #holders = new Map<VolumeId, Map<string, Node>>()

  get volumeIds(): Iterable<VolumeId> {
    return this.#holders.keys()
  }

  get size(): number {
    return this.#holders.size
  }

  has(volumeId: VolumeId): boolean {
    return this.#holders.has(volumeId)
  }

  of(volumeId: VolumeId): Iterable<Node> {
    return this.#holders.get(volumeId)?.values() ?? []
  }

  add(volumeId: VolumeId, url: string, node: Node): void {
    const holders = this.#holders.get(volumeId)
    if (holders === undefined) this.#holders.set(volumeId, new Map([[url, node]]))
    else holders.set(url, node)
  }

  remove(volumeId: VolumeId, url: string): void {
    const holders = this.#holders.get(volumeId)
    holders?.delete(url)
    if (holders?.size === 0) this.#holders.delete(volumeId)
  }
}
