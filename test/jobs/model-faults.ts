import type { Prng } from '../support/prng.ts'
import type { ModelClients } from './model-clients.ts'
import type { ModelCluster, ModelVolume } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'

/**
 * What happens to servers and disks while jobs run. Never so much that a promised needle has no
 * good copy left, or a delete no witness: nobody could keep that.
 */
export class ModelFaults {
  readonly #cluster: ModelCluster
  readonly #volume: ModelVolume
  readonly #clients: ModelClients
  readonly #prng: Prng

  constructor(cluster: ModelCluster, volume: ModelVolume, clients: ModelClients, prng: Prng) {
    this.#cluster = cluster
    this.#volume = volume
    this.#clients = clients
    this.#prng = prng
  }

  strike(): void {
    const prng = this.#prng
    const node = prng.pick([...this.#cluster.nodes.values()])
    const { url } = node.location
    const copy = node.copies.get(this.#volume.volumeId)
    const faults: (() => void)[] = [
      () => this.#cluster.clock.pass(prng.between(1, 3000)),
      () => this.#corrupt(),
      () => {
        if (!this.#isDispensable(url)) return
        node.isUp = false
        node.isDeclaredLost = prng.chance(0.5)
        this.#clients.forgetOld()
      },
      () => {
        if (!node.isUp) this.#clients.forgetOld()
        node.isUp = true
        node.isDeclaredLost = false
      },
      () => {
        if (copy === undefined || !this.#isDispensable(url)) return
        copy.state = prng.pick(['damaged', 'failed'])
      },
      () => {
        if (!this.#isDispensable(url)) return
        node.copies.delete(this.#volume.volumeId)
        node.sets.delete(this.#volume.volumeId)
      },
      () => {
        if (prng.chance(0.2) && this.#isDispensable(url)) {
          for (const set of node.setsOf(this.#volume.volumeId)) set.isFailed = true
        }
      },
      () => {
        const other = prng.pick([...this.#cluster.nodes.keys()])
        const cut = `${url}>${other}`
        if (this.#cluster.cuts.has(cut)) this.#cluster.cuts.delete(cut)
        else if (url !== other) this.#cluster.cuts.add(cut)
      },
      () => {
        node.isFull = !node.isFull
      },
    ]
    prng.pick(faults)()
  }

  /** Everything is up again; what is broken stays broken. */
  calm(): void {
    this.#cluster.cuts.clear()
    for (const node of this.#cluster.nodes.values()) {
      node.isUp = true
      node.isDeclaredLost = false
      node.isFull = false
    }
    this.#cluster.clock.pass(60_000)
    this.#clients.pump()
  }

  #corrupt(): void {
    if (this.#volume.stripe !== undefined) {
      this.#flip()
      return
    }
    const members = this.#cluster.liveMembers(this.#volume)
    if (members.length === 0) return
    const { copy, url } = this.#prng.pick(members)
    const needles = this.#clients.promisedNeedles.filter((needle) =>
      this.#clients.holders(needle).some((holder) => holder !== url),
    )
    const records = copy.records.filter((record) => isGarbage(copy, record, needles))
    if (records.length > 0) this.#prng.pick(records).isCorrupt = true
  }

  /** A shard that counts, or one that may soon, as long as enough others are good. */
  #flip(): void {
    const { stripe } = this.#volume
    const good = this.#cluster.goodShards(this.#volume)
    if (good.length <= (stripe?.dataShards ?? 0)) return
    const { shard, url } = this.#prng.pick(good)
    for (const set of this.#cluster.node(url).setsOf(this.#volume.volumeId)) {
      if (set.shards.has(shard)) set.flipped.add(shard)
    }
  }

  #isReadableWithout(url: string): boolean {
    const { stripe } = this.#volume
    if (stripe === undefined) {
      const members = this.#cluster.liveMembers(this.#volume)
      const others = members.filter((member) => member.url !== url)
      if (!others.some(({ copy }) => copy.isSound)) return false
      return this.#clients.promisedNeedles.every((needle) =>
        this.#clients.holders(needle).some((holder) => holder !== url),
      )
    }
    const good = this.#cluster.goodShards(this.#volume).filter((place) => place.url !== url)
    return good.length >= stripe.dataShards
  }

  /** Without what that server has, everything promised could still be kept. */
  #isDispensable(url: string): boolean {
    if (!this.#isReadableWithout(url) || this.#clients.hasWrites) return false
    return this.#clients.goneNeedles.every((needle) => {
      if (this.#volume.dirty.get(needle)?.kind === 'delete') return true
      const { volumeId } = this.#volume
      return [...this.#cluster.nodes.values()].every((node) => {
        const isInSet = node.setsOf(volumeId).some((set) => set.isLive(needle))
        return !isInSet && node.copies.get(volumeId)?.isLive(needle) !== true
      })
    })
  }
}

/** A record of one of those needles, or one that nobody needs. */
function isGarbage(
  copy: ModelCopy,
  record: ModelCopy['records'][number],
  needles: readonly number[],
): boolean {
  if (record.isTombstone) return false
  const isLive = copy.entry(record.needle)?.record === record
  return !isLive || needles.includes(record.needle)
}
