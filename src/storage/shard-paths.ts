import { join } from 'node:path'
import { StoreError } from '../base/store-error.ts'
import { parseVolumeFileName, type VolumeName, volumeBaseName } from '../format/file-names.ts'

/** Names one run of the encoder on one volume. */
export interface ShardRunName extends VolumeName {
  /** Decimal digits. */
  readonly runId: string
}

/** The directory of the shards of one run, and the files in it that are not shards. */
export interface ShardPaths {
  /** The one with the volumes, in which the directory of the run lies. */
  readonly parent: string
  readonly directory: string
  readonly base: string
  readonly ecx: string
  readonly ecj: string
  readonly ecsum: string
  /** Written last and removed first: without it the rest is no shard set. */
  readonly vif: string
  /** Marks a journal whose sync failed; the next start writes it anew. */
  readonly failed: string
}

const RUN_ID = /^[1-9]\d{0,19}$/
const RUN_DIRECTORY = /^(.+)\.ec-(\d+)$/s
const SHARD = /\.ec([0-2]\d|3[01])$/

export function shardPaths(parent: string, name: ShardRunName): ShardPaths {
  const volumeBase = volumeBaseName(name)
  const directory = join(parent, `${volumeBase}.ec-${parseRunId(name.runId)}`)
  const base = join(directory, volumeBase)
  return {
    parent,
    directory,
    base,
    ecx: `${base}.ecx`,
    ecj: `${base}.ecj`,
    ecsum: `${base}.ecsum`,
    vif: `${base}.vif`,
    failed: `${base}.failed`,
  }
}

export function shardPath(paths: ShardPaths, shard: number): string {
  return `${paths.base}.ec${shard.toString().padStart(2, '0')}`
}

/** Where a shard is written before it is whole. */
export function shardDraftPath(paths: ShardPaths, shard: number): string {
  return `${shardPath(paths, shard)}.draft`
}

/** Undefined: the name is that of no shard. */
export function parseShardNumber(name: string): number | undefined {
  const digits = SHARD.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** Undefined: the name is that of no run. */
export function parseRunDirectory(name: string): ShardRunName | undefined {
  const [, base, runId = ''] = RUN_DIRECTORY.exec(name) ?? []
  const volume = base === undefined ? undefined : parseVolumeFileName(`${base}.dat`)
  if (volume === undefined || !RUN_ID.test(runId)) return undefined
  return { collection: volume.collection, volumeId: volume.volumeId, runId }
}

/** @throws {StoreError} REQUEST_INVALID: it names no run, and must not become part of a path. */
export function parseRunId(text: string): string {
  if (RUN_ID.test(text)) return text
  throw new StoreError('REQUEST_INVALID', `a run is named by up to 20 digits, not ${text.length}`)
}
