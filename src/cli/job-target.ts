import { parseErasureScheme } from '../base/erasure-scheme.ts'
import { parseVolumeId, type VolumeId } from '../base/ids.ts'
import { parseReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { JobKind, JobsApi, JobTarget } from '../net/jobs-api.ts'
import { invalidSetting, readList } from './setting-values.ts'

export interface JobTargetFlags {
  readonly volume?: string
  readonly node?: string
  readonly toNode?: string
  readonly collection?: string
  readonly replication?: string
  readonly deep?: boolean
  readonly acceptNode?: string
  readonly erasure?: string
}

interface KindFlags {
  readonly needs: readonly (keyof JobTargetFlags)[]
  readonly takes: readonly (keyof JobTargetFlags)[]
}

const OF_VOLUMES: KindFlags = { needs: ['volume'], takes: ['collection'] }

/** What each kind must be told, and what it may be told beside that. */
const KIND_FLAGS: Readonly<Record<JobKind, KindFlags>> = {
  'replica-repair': { needs: ['volume'], takes: ['collection', 'deep', 'acceptNode'] },
  move: { needs: ['volume', 'node'], takes: ['toNode'] },
  rebalance: { needs: [], takes: [] },
  evacuate: { needs: ['node'], takes: [] },
  vacuum: OF_VOLUMES,
  scrub: OF_VOLUMES,
  expire: OF_VOLUMES,
  'set-replication': { needs: ['collection', 'replication'], takes: [] },
  'ec-encode': { needs: ['volume'], takes: ['collection', 'erasure'] },
  'ec-repair': OF_VOLUMES,
  'ec-balance': OF_VOLUMES,
  'ec-vacuum': OF_VOLUMES,
  'ec-decode': OF_VOLUMES,
  heal: { needs: [], takes: ['node'] },
}

const FLAG_NAMES: Readonly<Record<keyof JobTargetFlags, string>> = {
  volume: '--volume',
  node: '--node',
  toNode: '--to-node',
  collection: '--collection',
  replication: '--replication',
  deep: '--deep',
  acceptNode: '--accept-node',
  erasure: '--erasure',
}

const ALL = 'all'

/**
 * One target for each job to be queued: several for a list of volumes. `isTyped` tells whether a
 * flag stands on the command line: one that the kind has no use for is refused there, but may well
 * be set for other commands.
 *
 * @throws {StoreError} CONFIG_INVALID: a flag is missing, of no use, or has a wrong value; or what
 * is wrong with a replication or a scheme.
 */
export async function readJobTargets(
  kind: JobKind,
  flags: JobTargetFlags,
  isTyped: (name: string) => boolean,
  listVolumes: (collection: string | undefined) => ReturnType<JobsApi['listVolumes']>,
): Promise<readonly JobTarget[]> {
  const { needs, takes } = KIND_FLAGS[kind]
  const known: readonly string[] = [...needs, ...takes]
  const names = Object.keys(FLAG_NAMES) as readonly (keyof JobTargetFlags)[]
  for (const name of names) {
    if (!isTyped(name) || known.includes(name)) continue
    throw new StoreError('CONFIG_INVALID', `${FLAG_NAMES[name]} means nothing to ${kind}`)
  }
  const missing = needs.find((name) => flags[name] === undefined)
  if (missing !== undefined) {
    throw new StoreError('CONFIG_INVALID', `${kind} needs ${FLAG_NAMES[missing]}`)
  }
  const one = readTarget(flags, known)
  if (!needs.includes('volume')) return [one]
  const volumeIds = await readVolumeIds(flags, listVolumes)
  return volumeIds.map((volumeId) => ({ ...one, volumeId }))
}

function readTarget(flags: JobTargetFlags, known: readonly string[]): JobTarget {
  const { node, toNode, collection, replication, deep, acceptNode, erasure } = flags
  const has = (name: keyof JobTargetFlags): boolean => known.includes(name)
  // With volumes, the collection only says which of them.
  const isWhole = !has('volume')
  return {
    ...(has('node') && node !== undefined && { node }),
    ...(has('toNode') && toNode !== undefined && { toNode }),
    ...(has('collection') && isWhole && collection !== undefined && { collection }),
    ...(has('replication') &&
      replication !== undefined && { replication: parseReplicaPlacement(replication) }),
    ...(has('deep') && deep === true && { isDeep: true }),
    ...(has('acceptNode') && acceptNode !== undefined && { acceptNode }),
    ...(has('erasure') && erasure !== undefined && { erasure: parseErasureScheme(erasure) }),
  }
}

/** @throws {StoreError} CONFIG_INVALID */
export async function readVolumeIds(
  { volume = '', collection }: Pick<JobTargetFlags, 'volume' | 'collection'>,
  listVolumes: (collection: string | undefined) => ReturnType<JobsApi['listVolumes']>,
): Promise<readonly VolumeId[]> {
  if (volume === ALL) return await listVolumes(collection)
  const ids = readList(volume).map((text) => {
    try {
      return parseVolumeId(text)
    } catch {
      throw invalidSetting('--volume', text, 'it must be numbers with commas between, or all')
    }
  })
  if (ids.length > 0) return ids
  throw invalidSetting('--volume', volume, 'it must be numbers with commas between, or all')
}
