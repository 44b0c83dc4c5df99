import { isStoreError, StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { NewShard, ShardFacts, ShardPlace } from '../net/stripe-facts.ts'
import { drain, groupPlaces, nearestPlaces, verifyShards } from './shard-commands.ts'
import { askForShards, type StripeSurvey } from './stripe-survey.ts'
import { schemeOf } from './stripe-switch.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** So many servers are tried for a shard before the attempt fails. */
const TARGETS_MAX = 5

/** A shard at a place where it does not count yet. */
export interface MadeShard extends NewShard {
  readonly location: NodeLocation
}

/**
 * Gets shards for a stripe that lacks some: those that lie about already, if they are whole, else
 * new ones, made of the others on servers of the master's choice.
 */
export class ShardMaker {
  readonly #work: VolumeWork
  readonly #onBytes: (doneBytes: number, totalBytes: number) => void

  constructor(work: VolumeWork, onBytes: (doneBytes: number, totalBytes: number) => void) {
    this.#work = work
    this.#onBytes = onBytes
  }

  /** Of a server that came back, or of a worker that died before they counted. */
  async takeBack(
    survey: StripeSurvey,
    wanted: readonly ShardFacts[],
    signal: AbortSignal,
  ): Promise<readonly MadeShard[]> {
    const { runId, shards: places } = survey.stripe
    const taken: MadeShard[] = []
    for (const {
      shard,
      directoryId,
      location: { url },
    } of wanted) {
      const set = survey.found.find(({ location, report }) => {
        const isItself = report.directoryId === directoryId && location.url === url
        const isOfRun = report.runId === runId && !isItself
        return isOfRun && report.shards.includes(shard) && !report.badShards.includes(shard)
      })
      if (set === undefined) continue
      const { location, report } = set
      // Of one server only one of a number can count; the other could not be told from it.
      const isTwice = places.some((place) => {
        return place.shard === shard && place.location.url === location.url && !place.isLost
      })
      if (isTwice || !(await this.#isSound(set.location, { runId, shard }, signal))) continue
      taken.push({ shard, url: location.url, directoryId: report.directoryId, location })
    }
    return taken
  }

  /**
   * Makes them anew.
   *
   * @throws {StoreError} NO_WRITABLE_VOLUME; SHARDS_LOST, UNAVAILABLE: too few are in reach to make
   * them of; why the last server could not.
   */
  async make(
    survey: StripeSurvey,
    request: { readonly wanted: readonly ShardFacts[]; readonly avoided: readonly string[] },
    signal: AbortSignal,
  ): Promise<readonly MadeShard[]> {
    const sources = this.#sources(survey)
    const excluded = [...request.avoided]
    const made: MadeShard[] = []
    let open = request.wanted.map(({ shard }) => shard)
    let failure: unknown
    for (let round = 0; round < TARGETS_MAX && open.length > 0; round++) {
      const places = await this.#choose(survey, { open, made, excluded, failure }, signal)
      for (const { location, shards } of groupPlaces(places)) {
        try {
          made.push(...(await this.#makeAt(survey, { location, shards, sources }, signal)))
          open = open.filter((shard) => !shards.includes(shard))
        } catch (error) {
          const isOfThisServer =
            isOutOfReach(error) || isStoreError(error, 'DISK_FULL', 'DISK_FAILED', 'PEER_FAILED')
          if (!isOfThisServer) throw error
          failure = error
          excluded.push(location.url)
        }
      }
    }
    // What could be made counts for itself; the rest is for the next attempt.
    if (made.length > 0) return made
    throw failure ?? new StoreError('NO_WRITABLE_VOLUME', 'no server takes a shard')
  }

  async #isSound(
    location: NodeLocation,
    { runId, shard }: { readonly runId: string; readonly shard: number },
    signal: AbortSignal,
  ): Promise<boolean> {
    try {
      const onProgress = (progress: { doneBytes: number; totalBytes: number }) =>
        this.#onBytes(progress.doneBytes, progress.totalBytes)
      const here = { location, runId, shards: [shard] }
      return (await verifyShards(this.#work, here, onProgress, signal)).length === 0
    } catch (error) {
      if (!isOutOfReach(error) && !isBadHere(error)) throw error
      return false
    }
  }

  #sources({ good, bad, away, stripe, facts }: StripeSurvey): readonly ShardPlace[] {
    // Most blocks of a bad one are good all the same.
    const sources = good.length >= stripe.dataShards ? good : [...good, ...bad]
    if (sources.length >= stripe.dataShards) return sources
    const count = `${sources.length} of ${stripe.dataShards}`
    const why = `${count} shards that volume ${facts.volumeId} can be read from are there`
    throw new StoreError(away.length > 0 ? 'UNAVAILABLE' : 'SHARDS_LOST', why)
  }

  async #choose(
    survey: StripeSurvey,
    request: {
      readonly open: readonly number[]
      readonly made: readonly MadeShard[]
      readonly excluded: readonly string[]
      readonly failure: unknown
    },
    signal: AbortSignal,
  ): Promise<readonly ShardPlace[]> {
    const { stripe, found } = survey
    const { open, made, excluded, failure } = request
    const { jobs } = this.#work.context
    const { volumeId } = this.#work
    const isGone = ({ shard }: ShardFacts) =>
      open.includes(shard) || made.some((one) => one.shard === shard)
    const stay = stripe.shards.filter((place) => !isGone(place) && place.location.url !== '')
    const kept = [
      ...stay.map(({ shard, location }) => ({ shard, url: location.url })),
      ...made.map(({ shard, url }) => ({ shard, url })),
    ]
    const sample = found.find(({ report }) => report.runId === stripe.runId)
    const shardBytes = sample?.report.shardBytes ?? 0
    const scheme = schemeOf(stripe)
    try {
      const request = { volumeId, ...scheme, kept, wanted: open, shardBytes, excluded }
      return await jobs.chooseShards(request, signal)
    } catch (error) {
      const isFull = isStoreError(error, 'NO_WRITABLE_VOLUME', 'PLACEMENT_IMPOSSIBLE')
      if (isFull && made.length > 0) return []
      throw isFull && failure !== undefined ? failure : error
    }
  }

  async #makeAt(
    { stripe, facts }: StripeSurvey,
    request: {
      readonly location: NodeLocation
      readonly shards: readonly number[]
      readonly sources: readonly ShardPlace[]
    },
    signal: AbortSignal,
  ): Promise<readonly MadeShard[]> {
    const { location, shards } = request
    const { runId } = stripe
    const { command, politeness } = this.#work
    const sources = nearestPlaces(request.sources, location)
    const { collection } = facts
    const rebuild = { ...command, runId, collection, shards, sources, politeness }
    const onProgress = (progress: { doneBytes: number; totalBytes: number }) =>
      this.#onBytes(progress.doneBytes, progress.totalBytes)
    await drain(this.#work.at(location).shards.rebuildShards(rebuild, signal), onProgress)
    const sets = await askForShards(this.#work, [location], signal)
    return shards.map((shard) => {
      const set = sets.find(({ report }) => {
        return report.runId === runId && report.shards.includes(shard)
      })
      const { directoryId } = set?.report ?? {}
      if (directoryId !== undefined) return { shard, url: location.url, directoryId, location }
      const why = `${location.url} does not have shard ${shard} it has made`
      throw new StoreError('PEER_FAILED', why)
    })
  }
}

/** What lies there cannot be read as shards: not that the server cannot be reached. */
export function isBadHere(error: unknown): error is StoreError {
  return isStoreError(
    error,
    'SHARD_CORRUPT',
    'SHARD_NOT_FOUND',
    'VOLUME_NOT_FOUND',
    'INDEX_CORRUPT',
    'SIDECAR_CORRUPT',
    'DISK_FAILED',
    'VOLUME_FAILED',
    'VOLUME_DAMAGED',
  )
}
