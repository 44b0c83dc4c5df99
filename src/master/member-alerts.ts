import { formatBytes } from '../base/units.ts'
import type { Alert, AlertCode } from '../net/jobs-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { BrokenLinks } from './broken-links.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Membership } from './membership.ts'
import type { VolumeSets } from './volume-sets.ts'

export interface MemberAlertsParts {
  readonly state: ClusterState
  readonly sets: Pick<VolumeSets, 'outdatedCopies'>
  readonly links: Pick<BrokenLinks, 'list'>
  readonly membership: Pick<Membership, 'nodes' | 'isMassGone' | 'aheadOfUs'>
  readonly clock: Clock
}

/** Of one kind at most so many are told apart; the last one counts the rest. */
const PER_CODE_MAX = 10

interface Finding {
  readonly code: AlertCode
  readonly message: string
  readonly sinceMs?: number
}

/** What is wrong with servers and their directories, in words, each since it was first seen. */
export class MemberAlerts {
  readonly #parts: MemberAlertsParts
  #sinceMs = new Map<string, number>()

  constructor(parts: MemberAlertsParts) {
    this.#parts = parts
  }

  list(): readonly Alert[] {
    const nowMs = this.#parts.clock.nowMs()
    const before = this.#sinceMs
    this.#sinceMs = new Map()
    const counts = new Map<AlertCode, number>()
    const alerts: Alert[] = []
    for (const { code, message, sinceMs } of this.#find()) {
      const count = (counts.get(code) ?? 0) + 1
      counts.set(code, count)
      if (count > PER_CODE_MAX) continue
      const key = `${code} ${message}`
      const firstSeenMs = sinceMs ?? before.get(key) ?? nowMs
      this.#sinceMs.set(key, firstSeenMs)
      alerts.push({ code, message, sinceMs: firstSeenMs })
    }
    for (const [code, count] of counts) {
      if (count <= PER_CODE_MAX) continue
      alerts.push({ code, message: `and ${count - PER_CODE_MAX} more`, sinceMs: nowMs })
    }
    return alerts
  }

  *#find(): Generator<Finding> {
    yield* this.#findMass()
    yield* this.#findDirectories()
    const { state, sets, links, membership } = this.#parts
    for (const { node, report } of sets.outdatedCopies()) {
      const message =
        `${node.location.url} has an old generation of volume ${report.volumeId} in the ` +
        `directory ${report.directoryId}: it does not count, and is replaced`
      yield { code: 'COPY_OUTDATED', message }
    }
    for (const { url, sinceMs } of state.standings.flapping()) {
      const message = `${url} comes and goes: it is given nothing new until it stays up`
      yield { code: 'NODE_FLAPPING', message, sinceMs }
    }
    for (const { from, to, sinceMs } of links.list()) {
      const message = `${from} cannot reach ${to}, although both are up`
      yield { code: 'LINK_BROKEN', message, sinceMs }
    }
    for (const url of membership.aheadOfUs) {
      const message = `${url} has obeyed a later master: this one works with old metadata`
      yield { code: 'EPOCH_BEHIND', message }
    }
  }

  *#findMass(): Generator<Finding> {
    const { membership } = this.#parts
    if (!membership.isMassGone()) return
    const nodes = membership.nodes()
    const gone = nodes.filter((node) => node.state === 'down' && node.hasMembers)
    const some = gone.slice(0, 5).map((node) => node.location.url)
    yield {
      code: 'MASS_DISAPPEARANCE',
      message:
        `${gone.length} of ${nodes.length} volume servers are down at once (${some.join(', ')}): ` +
        'nothing is copied because of it',
      sinceMs: Math.min(...gone.map((node) => node.downSinceMs)),
    }
  }

  *#findDirectories(): Generator<Finding> {
    const { topology } = this.#parts.state
    for (const { url, directoryId, why, other } of topology.ignoredDirectories()) {
      if (why === 'foreign') {
        const message = `the directory ${directoryId} of ${url} belongs to the cluster ${other}`
        yield { code: 'DIRECTORY_FOREIGN', message }
      } else {
        const message = `${url} serves the directory ${directoryId}, as ${other} does`
        yield { code: 'DIRECTORY_TWICE', message }
      }
    }
    for (const node of topology.nodes) {
      if (node.state === 'down') continue
      for (const { path, freeBytes, reserveBytes } of node.disks) {
        if (freeBytes > reserveBytes) continue
        const message = `${path} of ${node.location.url} is full: ${formatBytes(freeBytes)} free`
        yield { code: 'DISK_FULL', message }
      }
    }
  }
}
