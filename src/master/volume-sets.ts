import { assert } from '../base/assert.ts'
import type { VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { MembersChange, VacuumNote, VolumeCopyFacts, VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation, WritePolicy } from '../net/master-api.ts'
import type { StripeFacts } from '../net/stripe-facts.ts'
import type { DirtyNeedles } from './dirty-needles.ts'
import type { KnownNodes } from './known-nodes.ts'
import type { LayoutKey } from './layout-key.ts'
import { MemberFacts, strayFacts } from './member-facts.ts'
import type { NodeStandings } from './node-standings.ts'
import { untilFound } from './reported-wait.ts'
import {
  alterStripe,
  checkStripe,
  layoutOfShards,
  learnStripe,
  type StripeOrder,
  strayShards,
  unreportedShard,
} from './stripe-members.ts'
import type { ClusterTopology, TopologyChange, VolumeCopy } from './topology.ts'
import { VolumeAdoption } from './volume-adoption.ts'
import {
  alterMembers,
  findMember,
  isHealthy,
  isOutdated,
  learnMember,
  nameOf,
  newMember,
  normalisedTtl,
  tombstoneOf,
} from './volume-members.ts'
import { VolumeRecords, type VolumeRecordsParts } from './volume-records.ts'
import { isSameOrLater, type VolumeMember, type VolumeRecord } from './volume-rows.ts'
import type { WarmUp } from './warm-up.ts'

export interface VolumeSetsParts extends VolumeRecordsParts {
  readonly topology: ClusterTopology
  readonly known: Pick<KnownNodes, 'location'>
  readonly standings: Pick<NodeStandings, 'isGone' | 'upForMs'>
  readonly dirty: Pick<DirtyNeedles, 'countOf' | 'forgetVolume'>
  readonly warmUp: Pick<WarmUp, 'isWarming'>
  readonly policies: { writePolicyOf(collection: string): WritePolicy }
}

export interface VolumeSetsOptions {
  readonly heartbeatMs: number
}

/** What hears of changes that no heartbeat tells of. */
export interface VolumeSetsListener {
  onSetsChanged(volumeIds: ReadonlySet<VolumeId>): void
}

/** A server that is up has so many heartbeats to say that it has a copy after all. */
const SETTLE_HEARTBEATS = 2

const VOLUMES_PER_COMMIT = 1000

/**
 * Which copies of a volume count, durably: its members; or if it is coded, which shards: its
 * stripe. A copy or shard is named by the directory it lies in. One that is reported by another
 * directory, in an older generation than the member had, or of another run of the encoder, is a
 * stray: it is shown in the facts, and nowhere else.
 *
 * A volume that is reported and was never heard of is adopted with all that is there of it, once
 * the servers known from before are back. Until then all its copies count for reads, or if there
 * are none its shards, and it is not written to.
 */
export class VolumeSets implements AsyncDisposable {
  readonly #parts: VolumeSetsParts
  readonly #records: VolumeRecords
  readonly #adoption: VolumeAdoption
  readonly #members: MemberFacts
  /** Volumes with a copy that is a member's and too old for it. */
  readonly #outdated = new Set<VolumeId>()
  #listener: VolumeSetsListener = { onSetsChanged: () => undefined }

  private constructor(parts: VolumeSetsParts, records: VolumeRecords, options: VolumeSetsOptions) {
    this.#parts = parts
    this.#records = records
    const settleMs = options.heartbeatMs * SETTLE_HEARTBEATS
    this.#adoption = new VolumeAdoption(parts, { settleMs })
    this.#members = new MemberFacts(parts, { settleMs })
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(
    parts: VolumeSetsParts,
    options: VolumeSetsOptions,
    signal: AbortSignal,
  ): Promise<VolumeSets> {
    return new VolumeSets(parts, await VolumeRecords.open(parts, signal), options)
  }

  attach(listener: VolumeSetsListener): void {
    this.#listener = listener
  }

  /** Of volumes that were not deleted, those that wait to be adopted included. */
  get volumeIds(): Iterable<VolumeId> {
    return this.#liveIds()
  }

  record(volumeId: VolumeId): VolumeRecord | undefined {
    return this.#records.get(volumeId)
  }

  hasVolume(volumeId: VolumeId): boolean {
    const record = this.#records.get(volumeId)
    return record === undefined ? this.#adoption.has(volumeId) : record.deletedAtMs === 0
  }

  isDeleted(volumeId: VolumeId): boolean {
    return (this.#records.get(volumeId)?.deletedAtMs ?? 0) > 0
  }

  /** Undefined: there is no record of it. */
  collectionOf(volumeId: VolumeId): string | undefined {
    return this.#records.get(volumeId)?.collection
  }

  /** Volumes of the collection that have a record and were not deleted. */
  volumesOf(collection: string): VolumeId[] {
    return [...this.#liveIds()].filter((id) => this.collectionOf(id) === collection)
  }

  /** Copies that count, on servers that are down as well; none of a volume that is coded. */
  copies(volumeId: VolumeId): VolumeCopy[] {
    const record = this.#records.get(volumeId)
    const copies = this.#parts.topology.copies(volumeId)
    // One that is just being made is no volume yet.
    if (record === undefined) return this.#adoption.has(volumeId) ? copies : []
    return copies.filter((copy) => findMember(record, copy) !== undefined)
  }

  /** What counts of a coded volume, or is read from until it is adopted. */
  stripe(volumeId: VolumeId): StripeFacts | undefined {
    const record = this.#records.get(volumeId)
    const stripe = record === undefined ? this.#adoption.stripeOf(volumeId) : record.stripe
    if (stripe === undefined) return undefined
    return this.#members.ofStripe(volumeId, stripe, this.#parts.topology.shards(volumeId))
  }

  /** Undefined: the volume is not known, or was not adopted yet. */
  facts(volumeId: VolumeId): VolumeFacts | undefined {
    const record = this.#records.get(volumeId)
    if (record === undefined) return undefined
    const { topology, policies, dirty } = this.#parts
    const { collection, replication, ttl, setVersion, stripe, deletedAtMs } = record
    const shards = topology.shards(volumeId)
    const otherShards = strayShards(stripe, shards)
    const copies = new Map<VolumeMember, VolumeCopy>()
    const strays: VolumeCopyFacts[] = []
    for (const copy of topology.copies(volumeId)) {
      const member = findMember(record, copy)
      if (member !== undefined && !copies.has(member)) copies.set(member, copy)
      else strays.push(strayFacts(copy))
    }
    return {
      volumeId,
      collection,
      replication,
      ttl,
      writePolicy: policies.writePolicyOf(collection),
      setVersion,
      members: record.members.map((member) =>
        this.#members.ofMember(volumeId, member, copies.get(member)),
      ),
      strays,
      ...(stripe && { stripe: this.#members.ofStripe(volumeId, stripe, shards) }),
      ...(otherShards.length > 0 && { strayShards: otherShards }),
      isDeleted: deletedAtMs > 0,
      dirtyCount: dirty.countOf(volumeId),
    }
  }

  /** Of all volumes with a record; deleted ones only while something of them is there. */
  *allFacts(): Iterable<VolumeFacts> {
    for (const volumeId of this.#records.ids) {
      const facts = this.facts(volumeId)
      if (facts === undefined) continue
      const { isDeleted, strays, strayShards: shards = [] } = facts
      if (!isDeleted || strays.length + shards.length > 0) yield facts
    }
  }

  /**
   * The volume was made on all these servers: durable before anything is written to it.
   *
   * @throws {StoreError} the errors of the store: the volume must not be used.
   */
  async create(
    volumeId: VolumeId,
    key: LayoutKey,
    locations: readonly NodeLocation[],
    signal: AbortSignal,
  ): Promise<void> {
    const { collection, replication, ttl } = key
    const members = locations.map(({ url }) => ({ directoryId: '', url, compactionRevision: 0 }))
    const record = {
      collection,
      replication,
      ttl: normalisedTtl(ttl),
      setVersion: 1,
      members,
      deletedAtMs: 0,
    }
    await this.#records.change([volumeId], () => record, signal)
    this.#adoption.forget(volumeId)
    this.#tell([volumeId])
  }

  /**
   * Durable when it returns; all of it or nothing. A copy that is added must have been reported by
   * its server. The last healthy member in reach is never removed. Of a coded volume what is added
   * counts instead of the stripe.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND. METADATA_CONFLICT: the members have changed since, or an
   * added copy was not reported within a second; look again. REQUEST_INVALID: no member would be
   * left, or no healthy one, or two would be on one server.
   */
  async changeMembers(
    change: Pick<MembersChange, 'volumeId' | 'setVersion' | 'add' | 'removeDirectoryIds'>,
    signal: AbortSignal,
  ): Promise<VolumeFacts> {
    const { volumeId, setVersion, removeDirectoryIds } = change
    const add: VolumeMember[] = []
    for (const added of change.add) {
      add.push(newMember(await this.#untilReported(volumeId, added, signal)))
    }
    let isDecided = false
    const alter = (record: VolumeRecord | undefined) => {
      const live = this.#liveRecord(volumeId, record)
      const next = alterMembers(live, { setVersion, add, removeDirectoryIds })
      if (!isDecided) this.#checkSet(volumeId, live, next, add)
      isDecided = true
      return next
    }
    return await this.#change(volumeId, alter, signal)
  }

  /** As `JobsApi.changeStripe`. @throws {StoreError} VOLUME_NOT_FOUND, and those named there. */
  async changeStripe(order: StripeOrder, signal: AbortSignal): Promise<VolumeFacts> {
    const { volumeId, runId } = order
    const { topology, clock } = this.#parts
    checkStripe(order)
    const unreported = () => {
      const live = this.#liveRecord(volumeId, this.#records.get(volumeId))
      return unreportedShard(live, order, topology.shards(volumeId))
    }
    const isDown = () => topology.node(unreported()?.url ?? '')?.state === 'down'
    await untilFound(clock, () => unreported() === undefined || undefined, isDown, signal)
    let isDecided = false
    const alter = (record: VolumeRecord | undefined) => {
      const next = alterStripe(this.#liveRecord(volumeId, record), order)
      const missing = isDecided ? undefined : unreported()
      if (missing !== undefined) {
        const what = `shard ${missing.shard} of run ${runId} of volume ${volumeId}`
        const message = `${missing.url} does not report ${what} in ${missing.directoryId} as good`
        throw new StoreError('METADATA_CONFLICT', message)
      }
      isDecided = true
      return next
    }
    return await this.#change(volumeId, alter, signal)
  }

  /** As it shall be from now on; durable when it returns. @throws {StoreError} VOLUME_NOT_FOUND. */
  async setReplication(
    volumeId: VolumeId,
    replication: ReplicaPlacement,
    signal: AbortSignal,
  ): Promise<void> {
    const alter = (record: VolumeRecord | undefined) => {
      return { ...this.#liveRecord(volumeId, record), replication }
    }
    await this.#records.change([volumeId], alter, signal)
    this.#tell([volumeId])
  }

  /**
   * From now on an older generation of this copy is a stray; durable when it returns. Of a copy
   * that does not count nothing is noted. @throws {StoreError} VOLUME_NOT_FOUND.
   */
  async noteVacuum(note: VacuumNote, signal: AbortSignal): Promise<void> {
    const { volumeId, directoryId, compactionRevision } = note
    const alter = (record: VolumeRecord | undefined): VolumeRecord => {
      const live = this.#liveRecord(volumeId, record)
      const members = live.members.map((member) => {
        const isIt = nameOf(member) === directoryId
        const isLater = isSameOrLater(compactionRevision, member.compactionRevision)
        return isIt && isLater ? { ...member, compactionRevision } : member
      })
      return { ...live, members }
    }
    await this.#records.change([volumeId], alter, signal)
    this.#tell([volumeId])
  }

  /** The volume is deleted: copies that turn up are strays. Durable when it returns. */
  async forgetVolume(volumeId: VolumeId, signal: AbortSignal): Promise<void> {
    await this.forgetVolumes([volumeId], signal)
  }

  /** As `forgetVolume`; when it fails half-way, some are deleted and others are not. */
  async forgetVolumes(volumeIds: readonly VolumeId[], signal: AbortSignal): Promise<void> {
    const { clock, dirty } = this.#parts
    const deletedAtMs = clock.nowMs()
    for (let at = 0; at < volumeIds.length; at += VOLUMES_PER_COMMIT) {
      const some = volumeIds.slice(at, at + VOLUMES_PER_COMMIT)
      const alter = (record: VolumeRecord | undefined, id: VolumeId) =>
        tombstoneOf(record ?? this.#reportedLayout(id), deletedAtMs)
      await this.#records.change(some, alter, signal)
      for (const id of some) this.#adoption.forget(id)
      this.#tell(some)
      for (const id of some) await dirty.forgetVolume(id, signal)
    }
  }

  /**
   * Members on servers that are `forgotten` do not count any more, wherever a healthy member is in
   * reach; where there is none they stay, for they may be all that is left. Durable when it
   * returns.
   */
  async dropMembersOf(isForgotten: (url: string) => boolean, signal: AbortSignal): Promise<number> {
    const isOut = (member: VolumeMember) => {
      const isServed = this.#parts.topology.ownerOf(member.directoryId) !== undefined
      return !isServed && isForgotten(member.url)
    }
    const wanted = [...this.#liveIds()].filter((id) => {
      const record = this.#records.get(id)
      return record?.members.some(isOut) === true && this.copies(id).some(isHealthy)
    })
    const alter = (record: VolumeRecord | undefined, id: VolumeId): VolumeRecord => {
      const live = this.#liveRecord(id, record)
      const members = live.members.filter((member) => !isOut(member))
      if (members.length === 0 || members.length === live.members.length) return live
      return { ...live, members, setVersion: live.setVersion + 1 }
    }
    for (let at = 0; at < wanted.length; at += VOLUMES_PER_COMMIT) {
      const some = wanted.slice(at, at + VOLUMES_PER_COMMIT)
      await this.#records.change(some, alter, signal)
      this.#tell(some)
    }
    return wanted.length
  }

  /** Servers, by their url, with what counts: where it is served now, or was last. */
  memberUrls(): Set<string> {
    const urls = new Set<string>()
    for (const id of this.#liveIds()) {
      const { members = [], stripe } = this.#records.get(id) ?? {}
      for (const member of members) urls.add(this.#members.urlOf(member))
      for (const shard of stripe?.shards ?? []) urls.add(this.#members.urlOf(shard))
    }
    urls.delete('')
    return urls
  }

  /** Members of which an older generation is reported, instead of them. */
  outdatedCopies(): VolumeCopy[] {
    return [...this.#outdated].flatMap((id) => {
      const record = this.#records.get(id)
      const copies = this.#parts.topology.copies(id)
      return copies.filter((copy) => record !== undefined && isOutdated(record, copy))
    })
  }

  /** A heartbeat, or the end of a session, has changed this. Costs little when nothing is new. */
  onTopology(url: string, change: TopologyChange, isHeld: (volumeId: VolumeId) => boolean): void {
    this.#members.note(url, change, (volumeId) => this.#records.get(volumeId))
    for (const volumeId of change.movedVolumeIds) {
      if (this.#records.get(volumeId) === undefined) this.#adoption.note(volumeId, isHeld)
      else this.#learn(volumeId)
    }
  }

  /**
   * Makes volumes without a record ours; see `VolumeAdoption`. Nothing while the master is warming
   * up.
   */
  adoptPending(isHeld: (volumeId: VolumeId) => boolean): VolumeId[] {
    if (this.#parts.warmUp.isWarming) return []
    const adopted = this.#adoption.take(isHeld)
    for (const { volumeId, record } of adopted) this.#records.putSoon(volumeId, record)
    return adopted.map(({ volumeId }) => volumeId)
  }

  /** Writes what was learnt and not written yet. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#records[Symbol.asyncDispose]()
  }

  /** Durable, and told; as it is from now on. */
  async #change(
    volumeId: VolumeId,
    alter: (record: VolumeRecord | undefined) => VolumeRecord,
    signal: AbortSignal,
  ): Promise<VolumeFacts> {
    await this.#records.change([volumeId], alter, signal)
    this.#tell([volumeId])
    const facts = this.facts(volumeId)
    assert(facts !== undefined, `volume ${volumeId} has a record`)
    return facts
  }

  *#liveIds(): Iterable<VolumeId> {
    for (const id of this.#records.ids) if (!this.isDeleted(id)) yield id
    yield* this.#adoption.volumeIds
  }

  /** Undefined: nobody reports anything of it. */
  #reportedLayout(volumeId: VolumeId): LayoutKey | undefined {
    const { topology } = this.#parts
    return topology.copies(volumeId)[0]?.report ?? layoutOfShards(topology.shards(volumeId))
  }

  /** Takes down in which directories it lies, and where those are served, as heartbeats say. */
  #learn(volumeId: VolumeId): void {
    const record = this.#records.get(volumeId)
    this.#outdated.delete(volumeId)
    if (record === undefined || record.deletedAtMs > 0) return
    if (record.stripe !== undefined) {
      const stripe = learnStripe(record.stripe, this.#parts.topology.shards(volumeId))
      if (stripe !== record.stripe) this.#records.putSoon(volumeId, { ...record, stripe })
      return
    }
    let members: VolumeMember[] | undefined
    for (const copy of this.#parts.topology.copies(volumeId)) {
      if (isOutdated(record, copy)) this.#outdated.add(volumeId)
      const member = findMember(record, copy)
      if (member === undefined) continue
      const learnt = learnMember(member, copy)
      if (learnt === member) continue
      members ??= [...record.members]
      members[record.members.indexOf(member)] = learnt
    }
    if (members !== undefined) this.#records.putSoon(volumeId, { ...record, members })
  }

  /** @throws {StoreError} METADATA_CONFLICT */
  async #untilReported(
    volumeId: VolumeId,
    { url, directoryId }: { readonly url: string; readonly directoryId: string },
    signal: AbortSignal,
  ): Promise<VolumeCopy> {
    const { topology, clock } = this.#parts
    const look = () =>
      topology.copies(volumeId).find(({ node, report }) => {
        const isThere = node.location.url === url && report.directoryId === directoryId
        return isThere && node.state !== 'down'
      })
    const isDown = () => topology.node(url)?.state === 'down'
    const found = await untilFound(clock, look, isDown, signal)
    if (found !== undefined) return found
    const message = `${url} does not report volume ${volumeId} in the directory ${directoryId}`
    throw new StoreError('METADATA_CONFLICT', message)
  }

  #checkSet(
    volumeId: VolumeId,
    before: VolumeRecord,
    after: VolumeRecord,
    added: readonly VolumeMember[],
  ): void {
    const copies = this.#parts.topology.copies(volumeId)
    const healthyIn = ({ members }: VolumeRecord) =>
      copies.filter((copy) => isHealthy(copy) && findMember({ members }, copy) !== undefined).length
    const isSafeNow = before.stripe !== undefined || healthyIn(before) > 0
    if (isSafeNow && healthyIn(after) === 0) {
      const message = `volume ${volumeId} would be left without a healthy copy in reach`
      throw new StoreError('REQUEST_INVALID', message)
    }
    for (const { url, directoryId } of added) {
      const others = after.members.filter((member) => member.directoryId !== directoryId)
      if (!others.some((member) => this.#members.urlOf(member) === url)) continue
      throw new StoreError('REQUEST_INVALID', `${url} would have two copies of volume ${volumeId}`)
    }
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND */
  #liveRecord(volumeId: VolumeId, record: VolumeRecord | undefined): VolumeRecord {
    if (record !== undefined && record.deletedAtMs === 0) return record
    throw new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not known, or was deleted`)
  }

  #tell(volumeIds: readonly VolumeId[]): void {
    // They may have been reported before their records were as they are.
    for (const id of volumeIds) this.#learn(id)
    this.#listener.onSetsChanged(new Set(volumeIds))
  }
}
