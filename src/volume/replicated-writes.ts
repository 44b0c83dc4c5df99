import type { FileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { DirtyKind, NodeLocation } from '../net/master-api.ts'
import type { DeleteAnswer, PutAnswer, VolumeApi } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Tally } from '../runtime/metrics.ts'
import type { DirtyRecords } from './dirty-records.ts'
import { type Hop, replicaMs } from './hop.ts'
import { type Copies, isUndone, isUnreached, type ReplicaPeers, type Sent } from './replicate.ts'

export interface ReplicatedWritesParts {
  readonly peers: ReplicaPeers
  readonly dirty: DirtyRecords
  readonly clock: Clock
  /** Writes that did not reach every copy, whatever became of them. */
  readonly failures: Tally
  /** Aborts when this server closes. A client that leaves aborts nothing: half a write is worse. */
  readonly stop: AbortSignal
}

/** A write as it is done here, and sent to the others. */
export interface ReplicatedWrite<Answer> {
  readonly fileId: FileId
  readonly copyCount: number
  readonly dataBytes: number
  readonly here: () => Promise<Answer>
  readonly send: (peer: VolumeApi, hop: Hop) => Promise<Answer>
}

export interface ReplicatedPut extends ReplicatedWrite<PutAnswer> {
  /** Takes back what `here` stored. False: it stays, since something was or is there beside it. */
  readonly undo: () => Promise<boolean>
}

type Here<Answer> =
  | { readonly answer: Answer; readonly error?: undefined }
  | { readonly answer?: undefined; readonly error: StoreError }

interface Outcome<Answer> {
  readonly here: Here<Answer>
  readonly done: readonly Answer[]
  readonly failed: readonly { readonly url: string; readonly error: StoreError }[]
  /** Copies that nobody could even send it to. */
  readonly missingCount: number
}

/** Tried again meanwhile: as long as a write waits for a frozen volume here. */
const ROUNDS_MAX = 8
const BUSY_MS_MAX = LIMITS.frozenWriteMs.value - LIMITS.replicaWriteMs.value

/**
 * Writes that count when every copy has them, or when the master durably knows which do not.
 *
 *     put, all          every copy, or else undone here and recorded; the client tries another id
 *     put, best-effort  one copy and a record
 *     delete            one tombstone and a record
 */
export class ReplicatedWrites {
  readonly #parts: ReplicatedWritesParts

  constructor(parts: ReplicatedWritesParts) {
    this.#parts = parts
  }

  /**
   * Where a write has to go.
   *
   * @throws {StoreError} REPLICATION_FAILED: it cannot succeed, and must not begin.
   */
  async copies(
    what: 'put' | 'delete',
    { volumeId }: Pick<FileId, 'volumeId'>,
    copyCount: number,
    signal: AbortSignal,
  ): Promise<Copies> {
    const { peers } = this.#parts
    const copies = await peers.of(volumeId, copyCount, signal)
    if (what === 'delete' || copies.writePolicy === 'best-effort') return copies
    if (copies.missingCount > 0) {
      const known = `${copyCount - copies.missingCount} of ${copyCount} copies`
      throw this.#refusal(`only ${known} of volume ${volumeId} are within reach`)
    }
    const slow = copies.peers.find((peer) => peers.isAvoided(peer))
    if (slow === undefined) return copies
    throw this.#refusal(`${slow.url}, which has a copy of volume ${volumeId}, does not answer`)
  }

  /** Of a write that has begun, and goes on whatever they are. `before`: as they were then. */
  async copiesNow(
    { fileId, copyCount }: Pick<ReplicatedPut, 'fileId' | 'copyCount'>,
    before: Copies,
  ): Promise<Copies> {
    const { peers, stop } = this.#parts
    try {
      return await peers.of(fileId.volumeId, copyCount, stop)
    } catch (error) {
      if (isStoreError(error)) return before
      throw error
    }
  }

  /**
   * @throws {StoreError} what the write here failed with; REPLICATION_FAILED: it does not count.
   */
  async put(write: ReplicatedPut, copies: Copies): Promise<PutAnswer> {
    const outcome = await this.#run(write, copies)
    const { here, failed, done, missingCount } = outcome
    if (here.error === undefined && failed.length === 0 && missingCount === 0) return here.answer
    const mayBeSomewhere = done.length > 0 || failed.some(({ error }) => !isUndone(error))
    if (here.error !== undefined && !mayBeSomewhere && isUndone(here.error)) throw here.error
    // Wrong everywhere. Where it was taken all the same, another needle is missing.
    if (here.error !== undefined && isRefusal(here.error)) throw here.error
    this.#parts.failures.add(1)
    if (copies.writePolicy === 'best-effort') return await this.#accept('put', write, outcome)
    // It may have been there before, in some copy: then a tombstone would take more than this put.
    const isOld =
      done.some(({ isUnchanged }) => isUnchanged) ||
      failed.some(({ error }) => error.code === 'COOKIE_MISMATCH')
    const isUndoneHere = here.error === undefined && !isOld && (await write.undo())
    const isNowhere = isUndoneHere && !mayBeSomewhere
    const isRecorded = !isNowhere && (await this.#tryRecord('put', write.fileId, outcome))
    if (here.error !== undefined) throw here.error
    const what = isNowhere ? 'it was undone' : isRecorded ? 'it is recorded' : 'it is left as it is'
    throw replicationFailed(outcome, what)
  }

  /** Errors as `put`. */
  async delete(write: ReplicatedWrite<DeleteAnswer>, copies: Copies): Promise<DeleteAnswer> {
    const outcome = await this.#run(write, copies)
    const { here, failed, done, missingCount } = outcome
    if (here.error !== undefined && done.length === 0) throw here.error
    if (here.error !== undefined && isRefusal(here.error)) throw here.error
    const answers = here.answer === undefined ? done : [here.answer, ...done]
    const answer = answers.find(({ wasLive }) => wasLive) ?? answers[0]
    const mismatch = failed.find(({ error }) => error.code === 'COOKIE_MISMATCH')
    // Nobody has shown that the cookie is right.
    if (mismatch !== undefined && answer?.wasLive !== true) throw mismatch.error
    const isEverywhere = here.error === undefined && failed.length === 0 && missingCount === 0
    if (isEverywhere && answer !== undefined) return answer
    this.#parts.failures.add(1)
    return await this.#accept('delete', write, outcome)
  }

  /** Counts if some copy has it and the master durably knows that others lack it. */
  async #accept<Answer>(
    kind: DirtyKind,
    { fileId }: ReplicatedWrite<Answer>,
    outcome: Outcome<Answer>,
  ): Promise<Answer> {
    const { here, done } = outcome
    if (here.error !== undefined && !mayBeAccepted(here.error)) throw here.error
    const answer = here.answer ?? done[0]
    const isRecorded = await this.#tryRecord(kind, fileId, outcome)
    if (answer !== undefined && isRecorded) return answer
    if (here.error !== undefined) throw here.error
    throw replicationFailed(outcome, 'and the master could not be told')
  }

  /** Here and everywhere at the same time. Those that were busy are sent it again. */
  async #run<Answer>(write: ReplicatedWrite<Answer>, copies: Copies): Promise<Outcome<Answer>> {
    const { clock } = this.#parts
    const sent = new Map<string, Sent<Answer>>()
    const startedMs = clock.monotonicMs()
    const sending = this.#sendAll(write, copies.peers, sent)
    const [here] = await Promise.all([settled(write.here()), sending])
    let now = copies
    for (let round = 1; round < ROUNDS_MAX && hasMoved(sent); round++) {
      if (clock.monotonicMs() - startedMs > BUSY_MS_MAX) break
      const again = await this.#copiesAnew(write)
      if (again === undefined) break
      now = again
      const isTold = ({ url }: NodeLocation): boolean => {
        const known = sent.get(url)
        return known !== undefined && known.error?.code !== 'VOLUME_BUSY'
      }
      const peers = now.peers.filter((peer) => !isTold(peer))
      // A server that does not have it any more is no copy, unless the master still says so.
      forgetGone(sent, now.peers)
      if (peers.length === 0) break
      await this.#sendAll(write, peers, sent)
    }
    const all = [...sent.values()]
    return {
      here,
      done: all.flatMap(({ answer }) => (answer === undefined ? [] : [answer])),
      failed: all.flatMap(({ url, error }) => (error === undefined ? [] : [{ url, error }])),
      missingCount: now.missingCount,
    }
  }

  async #sendAll<Answer>(
    { dataBytes, send }: ReplicatedWrite<Answer>,
    locations: readonly NodeLocation[],
    sent: Map<string, Sent<Answer>>,
  ): Promise<void> {
    const { peers, stop: outer } = this.#parts
    const sending = locations.map(async (location): Promise<Sent<Answer>> => {
      const { url } = location
      if (!peers.isAvoided(location)) {
        return await peers.send(location, { ms: replicaMs(dataBytes), outer }, send)
      }
      return { url, error: new StoreError('TIMEOUT', `${url} did not answer just now`) }
    })
    for (const outcome of await Promise.all(sending)) sent.set(outcome.url, outcome)
  }

  /** Undefined: nobody can say. */
  async #copiesAnew<Answer>(write: ReplicatedWrite<Answer>): Promise<Copies | undefined> {
    const { peers, stop } = this.#parts
    const { volumeId } = write.fileId
    peers.expire(volumeId)
    try {
      return await peers.of(volumeId, write.copyCount, stop)
    } catch (error) {
      if (isStoreError(error)) return undefined
      throw error
    }
  }

  async #tryRecord<Answer>(
    kind: DirtyKind,
    { volumeId, needleId }: FileId,
    { failed }: Outcome<Answer>,
  ): Promise<boolean> {
    const unreached = failed.filter(({ error }) => isUnreached(error)).map(({ url }) => url)
    try {
      await this.#parts.dirty.record({ volumeId, needleId, kind, unreached })
      return true
    } catch (error) {
      if (isStoreError(error)) return false
      throw error
    }
  }

  #refusal(why: string): StoreError {
    this.#parts.failures.add(1)
    return new StoreError('REPLICATION_FAILED', `${why}; nothing was written`)
  }
}

/** The request is wrong, here as everywhere. */
function isRefusal({ code }: StoreError): boolean {
  return code === 'COOKIE_MISMATCH' || code === 'NEEDLE_INVALID' || code === 'NEEDLE_TOO_LARGE'
}

/** Another copy may have the needle although this one could not take it. */
function mayBeAccepted({ code }: StoreError): boolean {
  return ACCEPTABLE.has(code)
}

const ACCEPTABLE: ReadonlySet<string> = new Set([
  'VOLUME_FULL',
  'VOLUME_SEALED',
  'VOLUME_FAILED',
  'VOLUME_DAMAGED',
  'VOLUME_BUSY',
  'DISK_FULL',
  'DISK_FAILED',
  'OVERLOADED',
])

async function settled<Answer>(running: Promise<Answer>): Promise<Here<Answer>> {
  try {
    return { answer: await running }
  } catch (error) {
    if (isStoreError(error)) return { error }
    throw error
  }
}

/** What was held still, or is gone, may be elsewhere by now. */
function hasMoved(sent: ReadonlyMap<string, Sent<unknown>>): boolean {
  return [...sent.values()].some(({ error }) => {
    return isStoreError(error, 'VOLUME_BUSY', 'VOLUME_NOT_FOUND')
  })
}

function forgetGone(sent: Map<string, Sent<unknown>>, members: readonly NodeLocation[]): void {
  const urls = new Set(members.map(({ url }) => url))
  for (const [url, { error }] of sent) {
    if (error !== undefined && isUndone(error) && !urls.has(url)) sent.delete(url)
  }
}

function replicationFailed(outcome: Outcome<unknown>, what: string): StoreError {
  const { failed, done, missingCount } = outcome
  const others = failed.length + done.length + missingCount
  const cause = failed[0]?.error
  const why = cause?.message ?? 'they are out of reach'
  const text = `${failed.length + missingCount} of ${others} other copies failed, ${what}: ${why}`
  return new StoreError('REPLICATION_FAILED', text, { cause })
}
