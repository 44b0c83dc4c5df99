import type { VolumeId } from '../base/ids.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { ttlToMs } from '../base/ttl.ts'
import type { JobKind, JobRequest, JobTarget, VolumeFacts } from '../net/jobs-api.ts'
import type { Random } from '../runtime/random.ts'
import { queueOf, RISK } from './assess.ts'
import { assessVolume } from './assess-volume.ts'
import type { Collections } from './collections.ts'
import type { ErasurePolicy } from './erasure-policy.ts'
import type { QueueRequest } from './job-record.ts'
import { ANYWHERE } from './layout-key.ts'
import { choosePlacement } from './placement.ts'
import type { RepairView } from './repair-view.ts'
import type { VolumeSets } from './volume-sets.ts'

export interface JobRequestsParts {
  readonly view: RepairView
  readonly sets: Pick<VolumeSets, 'volumesOf'>
  readonly collections: Pick<Collections, 'has' | 'configure'>
  readonly policy: Pick<ErasurePolicy, 'schemeAsked'>
  readonly warmUp: { check(): void }
  readonly random: Random
}

const CODED_KINDS: readonly JobKind[] = ['ec-repair', 'ec-balance', 'ec-vacuum', 'ec-decode']

type Unasked = Omit<QueueRequest, 'isAsked'>

/** Checks what is asked for before it becomes a job, and says how urgent it is. */
export class JobRequests {
  readonly #parts: JobRequestsParts

  constructor(parts: JobRequestsParts) {
    this.#parts = parts
  }

  /** Only what its kind needs is kept of the target. @throws {StoreError} As `JobsApi.runJob`. */
  check(request: JobRequest): QueueRequest {
    this.#parts.warmUp.check()
    return { ...this.#check(request), isAsked: true }
  }

  #check(request: JobRequest): Unasked {
    const { kind, target, reason } = request
    if (kind === 'rebalance') {
      return { kind, target: {}, reason, risk: RISK.rebalance, queue: '' }
    }
    if (kind === 'evacuate') {
      const { url, dataCenter } = this.#node(target.node, 'node')
      return { kind, target: { node: url }, reason, risk: RISK.evacuate, queue: dataCenter }
    }
    if (kind === 'heal') {
      const { node } = target
      if (node === undefined) return { kind, target: {}, reason, risk: RISK.heal, queue: '' }
      const checked = { node: this.#node(node, 'node').url }
      return { kind, target: checked, reason, risk: RISK.fewCopies, queue: '' }
    }
    if (kind === 'set-replication') {
      const { collection, replication } = this.#placement(target)
      const checked = { collection, replication }
      return { kind, target: checked, reason, risk: RISK.setReplication, queue: '' }
    }
    return this.#ofVolume(request)
  }

  /** Of volumes to come; those there are follow by the job. Durable when it returns. */
  async settle(target: JobTarget, signal: AbortSignal): Promise<void> {
    const { collection = '', replication } = target
    const settings = { collection, replication, writePolicy: undefined }
    await this.#parts.collections.configure(settings, signal)
  }

  #ofVolume({ kind, target, reason }: JobRequest): Unasked {
    const facts = this.#facts(target.volumeId)
    const { volumeId } = facts
    const queue = queueOf(facts)
    const whole = { kind, reason, queue }
    checkLayout(kind, facts)
    switch (kind) {
      case 'replica-repair': {
        const { acceptNode, isDeep } = target
        if (acceptNode !== undefined) this.#node(acceptNode, 'acceptNode')
        const checked = {
          volumeId,
          ...(isDeep === true ? { isDeep } : {}),
          ...(acceptNode === undefined ? {} : { acceptNode }),
        }
        return { ...whole, target: checked, risk: repairRisk(facts) }
      }
      case 'move': {
        const { url } = this.#node(target.node, 'node')
        if (!facts.members.some(({ location }) => location.url === url)) {
          throw new StoreError('REQUEST_INVALID', `volume ${volumeId} has no copy at ${url}`)
        }
        const checked = { volumeId, node: url }
        if (target.toNode === undefined) return { ...whole, target: checked, risk: RISK.move }
        const toNode = this.#node(target.toNode, 'toNode').url
        return { ...whole, target: { ...checked, toNode }, risk: RISK.move }
      }
      case 'expire':
        if (ttlToMs(facts.ttl) === 0) {
          throw new StoreError('REQUEST_INVALID', `volume ${volumeId} has no time to live`)
        }
        return { ...whole, target: { volumeId }, risk: RISK.expire }
      case 'ec-encode': {
        if (ttlToMs(facts.ttl) > 0) {
          const message = `volume ${volumeId} has a time to live, and is not erasure-coded`
          throw new StoreError('REQUEST_INVALID', message)
        }
        const erasure = target.erasure ?? this.#parts.policy.schemeAsked(facts.collection)
        return { ...whole, target: { volumeId, erasure }, risk: RISK.encode }
      }
      case 'ec-repair':
        return { ...whole, target: { volumeId }, risk: repairRisk(facts) }
      case 'ec-balance':
        return { ...whole, target: { volumeId }, risk: RISK.placement }
      case 'ec-decode':
        return { ...whole, target: { volumeId }, risk: RISK.decode }
      case 'vacuum':
      case 'ec-vacuum':
        return { ...whole, target: { volumeId }, risk: RISK.vacuum }
      default:
        return { ...whole, target: { volumeId }, risk: RISK.scrub }
    }
  }

  /** @throws {StoreError} REQUEST_INVALID, VOLUME_NOT_FOUND. */
  #facts(volumeId: VolumeId | undefined): VolumeFacts {
    if (volumeId === undefined) throw missing('volumeId')
    const facts = this.#parts.view.facts(volumeId)
    if (facts !== undefined) return facts
    throw new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not known`)
  }

  /** @throws {StoreError} REQUEST_INVALID, NODE_NOT_FOUND. */
  #node(url: string | undefined, name: string) {
    if (url === undefined || url === '') throw missing(name)
    const found = this.#parts.view.nodes().find(({ location }) => location.url === url)
    if (found !== undefined) return found.location
    throw new StoreError('NODE_NOT_FOUND', `no volume server ${quote(url)} is known`)
  }

  /** @throws {StoreError} REQUEST_INVALID, COLLECTION_NOT_FOUND, PLACEMENT_IMPOSSIBLE. */
  #placement({ collection, replication }: JobTarget) {
    const { sets, collections, view, random } = this.#parts
    if (collection === undefined) throw missing('collection')
    if (replication === undefined) throw missing('replication')
    const isKnown = collection === '' || collections.has(collection)
    if (!isKnown && sets.volumesOf(collection).length === 0) {
      const message = `no collection is named ${quote(collection)}`
      throw new StoreError('COLLECTION_NOT_FOUND', message)
    }
    // That there is no room now is no reason: it will take a while anyway.
    const servers = view.servers(0, 'any').map((server) => ({ ...server, roomBytes: 1 }))
    choosePlacement(servers, replication, ANYWHERE, random)
    return { collection, replication }
  }
}

/** As risky as what is wrong with the volume now. */
function repairRisk(facts: VolumeFacts): number {
  const options = {
    nowMs: 0,
    isMassAway: false,
    garbageThreshold: 1,
    leaseMs: 0,
  }
  const repair = assessVolume(facts, options).jobs.find(({ kind }) => {
    return kind === 'replica-repair' || kind === 'ec-repair'
  })
  return repair?.risk ?? RISK.differs
}

/** @throws {StoreError} REQUEST_INVALID: what the volume is stored as is not for such a job. */
function checkLayout(kind: JobKind, facts: VolumeFacts): void {
  const { volumeId, stripe, strayShards, isDeleted } = facts
  const isForCoded = CODED_KINDS.includes(kind)
  // Of a volume with copies it removes the shards that somebody left there.
  const isLeft = kind === 'ec-repair' && strayShards !== undefined
  if (isForCoded && stripe === undefined && !isLeft) {
    throw new StoreError('REQUEST_INVALID', `volume ${volumeId} is not erasure-coded`)
  }
  if (kind === 'ec-encode' && isDeleted) {
    throw new StoreError('REQUEST_INVALID', `volume ${volumeId} was deleted`)
  }
  if (isForCoded || kind === 'scrub' || stripe === undefined) return
  throw new StoreError('REQUEST_INVALID', `volume ${volumeId} is erasure-coded: no ${kind} of it`)
}

function missing(name: string): StoreError {
  return new StoreError('REQUEST_INVALID', `the job needs a target with ${name}`)
}
