/** What the repair of a stripe has done so far, for people. */
export class EcTally {
  rebuiltCount = 0
  takenBackCount = 0
  healedCount = 0
  resolvedCount = 0
  shardsRemoved = 0
  copiesRemoved = 0
  #awaited: readonly string[] = []

  get summary(): string {
    const counts: [number, string][] = [
      [this.rebuiltCount, 'shards rebuilt'],
      [this.takenBackCount, 'shards taken back'],
      [this.healedCount, 'blocks healed'],
      [this.resolvedCount, 'dirty needles resolved'],
      [this.shardsRemoved, 'shards removed'],
      [this.copiesRemoved, 'copies removed'],
    ]
    const parts = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`)
    if (this.#awaited.length > 0) parts.push(`waits for ${this.#awaited.join(', ')}`)
    return parts.length === 0 ? 'nothing to do' : parts.join(', ')
  }

  waitsFor(urls: readonly string[]): void {
    this.#awaited = urls
  }
}
