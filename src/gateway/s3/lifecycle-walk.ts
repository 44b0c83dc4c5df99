import type { ListedVersion } from '../../namespace/namespace-api.ts'
import type { LifecycleFacts } from './access/lifecycle.ts'
import type { LifecycleRule } from './bucket-settings.ts'

/** A version, and what rules look at in it. */
export interface WalkedVersion {
  readonly listed: ListedVersion
  readonly facts: LifecycleFacts
}

/**
 * Versions in the order of a listing, each with what only its neighbours tell: how many lie above
 * it, and of a marker whether it is all that is left. It remembers one key, so a listing may be as
 * long as it likes, and a key may go on with the next page.
 */
export class VersionWalk {
  #key: string | undefined
  /** Of the key, not the current one, and no markers: those are not what a rule keeps. */
  #noncurrentCount = 0
  /** Newest of its key; judged when it is known whether another version follows. */
  #marker: ListedVersion | undefined

  /** What is known by now; what is left comes with the next version, or with `end`. */
  next(listed: ListedVersion): readonly WalkedVersion[] {
    const isSameKey = listed.key === this.#key
    const before = this.#settleMarker(!isSameKey)
    if (!isSameKey) {
      this.#key = listed.key
      this.#noncurrentCount = 0
    }
    if (listed.isLatest && listed.version.isMarker) {
      this.#marker = listed
      return before
    }
    const facts = this.#factsOf(listed)
    return facts === undefined ? before : [...before, { listed, facts }]
  }

  /** Nothing follows. */
  end(): readonly WalkedVersion[] {
    return this.#settleMarker(true)
  }

  #settleMarker(isOnlyVersion: boolean): readonly WalkedVersion[] {
    const listed = this.#marker
    if (listed === undefined) return []
    this.#marker = undefined
    const { key, version } = listed
    const facts = { kind: 'marker', key, createdAtMs: version.modifiedAtMs, isOnlyVersion } as const
    return [{ listed, facts }]
  }

  #factsOf({
    becameNoncurrentAtMs,
    isLatest,
    key,
    version,
  }: ListedVersion): LifecycleFacts | undefined {
    const { modifiedAtMs, sizeBytes, storageClass, tags } = version
    const common = { key, tags, sizeBytes, storageClass }
    if (isLatest) return { ...common, kind: 'current', createdAtMs: modifiedAtMs }
    const newerNoncurrentVersions = this.#noncurrentCount
    if (!version.isMarker) this.#noncurrentCount++
    // A listing always says it; without it no age is known, and nothing is done.
    if (becameNoncurrentAtMs === undefined) return undefined
    return { ...common, kind: 'noncurrent', becameNoncurrentAtMs, newerNoncurrentVersions }
  }
}

/** What all keys begin with that enabled rules are about: nothing else needs to be listed. */
export function prefixOfRules(rules: readonly LifecycleRule[]): string {
  const prefixes = rules.map(({ filter }) => Array.from(filter.prefix ?? ''))
  const [first = [], ...others] = prefixes
  let length = first.length
  for (const other of others) {
    let same = 0
    while (same < length && first[same] === other[same]) same++
    length = same
  }
  return first.slice(0, length).join('')
}
