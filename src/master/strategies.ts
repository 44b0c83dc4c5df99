import { GIB } from '../base/units.ts'
import type { Random } from '../runtime/random.ts'
import { type AssignedBytes, roomBytes } from './assigned-bytes.ts'
import { pickWeighted } from './chance.ts'
import { HashRing } from './hash-ring.ts'
import type { NodeView } from './topology.ts'
import type { Candidate } from './volume-layout.ts'

export const STRATEGY_NAMES = ['ring', 'least-used', 'random'] as const

export type StrategyName = (typeof STRATEGY_NAMES)[number]

export interface Choice {
  readonly candidate: Candidate
  /** Whose copy is to be written to first; undefined: any. */
  readonly firstUrl: string | undefined
}

/** Chooses among volumes that can all take the write; undefined only when there are none. */
export interface Strategy {
  choose(candidates: readonly Candidate[], key: string): Choice | undefined
}

export interface StrategyParts {
  /** Every server that is up. */
  readonly nodes: () => Iterable<NodeView>
  readonly assigned: AssignedBytes
  readonly random: Random
}

export function createStrategy(name: StrategyName, parts: StrategyParts): Strategy {
  if (name === 'ring') return new RingStrategy(parts)
  if (name === 'least-used') return new LeastUsedStrategy(parts)
  return new RandomStrategy(parts.random)
}

/** By chance, each volume as likely as it has bytes left. */
export class RandomStrategy implements Strategy {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  choose(candidates: readonly Candidate[]): Choice | undefined {
    const found = pickWeighted(candidates, (candidate) => candidate.remainingBytes, this.#random)
    return found && { candidate: found, firstUrl: undefined }
  }
}

/** The volume whose fullest server is emptiest, in proportion to its disks. */
export class LeastUsedStrategy implements Strategy {
  readonly #parts: StrategyParts

  constructor(parts: StrategyParts) {
    this.#parts = parts
  }

  choose(candidates: readonly Candidate[]): Choice | undefined {
    let best: Candidate | undefined
    let bestShare = -1
    for (const candidate of candidates) {
      const share = Math.min(...candidate.copies.map(({ node }) => this.#freeShare(node)))
      const isBetter =
        share > bestShare ||
        (share === bestShare && candidate.remainingBytes > (best?.remainingBytes ?? 0))
      if (!isBetter) continue
      best = candidate
      bestShare = share
    }
    return best && { candidate: best, firstUrl: undefined }
  }

  #freeShare(node: NodeView): number {
    let total = 0
    let room = 0
    for (const disk of node.disks) {
      total += disk.totalBytes
      room += roomBytes(disk)
    }
    const assigned = this.#parts.assigned.ofNode(node.location.url)
    return total === 0 ? 0 : Math.max(0, room - assigned) / total
  }
}

/**
 * Points on the ring for each server: in proportion to its disks between 2 and 8 TiB, few enough to
 * rebuild the ring in some ten milliseconds, and so many that shares come out within a tenth.
 */
const POINTS_MIN = 1024
const POINTS_MAX = 4096
const BYTES_PER_POINT = 2 * GIB

/**
 * The key's place on a ring of all servers that are up decides on the server; where that one has no
 * volume to write to, the next one on the ring does. A server that comes or goes moves only its own
 * share of the keys. A request without a key goes anywhere.
 */
export class RingStrategy implements Strategy {
  readonly #parts: StrategyParts
  readonly #withoutKey: RandomStrategy
  #ring = new HashRing([])
  #members = ''

  constructor(parts: StrategyParts) {
    this.#parts = parts
    this.#withoutKey = new RandomStrategy(parts.random)
  }

  choose(candidates: readonly Candidate[], key: string): Choice | undefined {
    if (key === '') return this.#withoutKey.choose(candidates)
    this.#refreshRing()
    for (const url of this.#ring.walk(key)) {
      const there = candidates.filter(({ copies }) => copies[0]?.node.location.url === url)
      const holding = there.length > 0 ? there : candidates.filter((each) => isOn(each, url))
      const choice = this.#withoutKey.choose(holding)
      if (choice !== undefined) return { ...choice, firstUrl: url }
    }
    return this.#withoutKey.choose(candidates)
  }

  #refreshRing(): void {
    const members = [...this.#parts.nodes()].map((node) => ({
      name: node.location.url,
      points: pointsOf(node),
    }))
    const text = members.map(({ name, points }) => `${name}*${points}`).join(' ')
    if (text === this.#members) return
    this.#ring = new HashRing(members)
    this.#members = text
  }
}

function isOn(candidate: Candidate, url: string): boolean {
  return candidate.copies.some((copy) => copy.node.location.url === url)
}

function pointsOf(node: NodeView): number {
  const totalBytes = node.disks.reduce((total, disk) => total + disk.totalBytes, 0)
  return Math.min(POINTS_MAX, Math.max(POINTS_MIN, Math.round(totalBytes / BYTES_PER_POINT)))
}
