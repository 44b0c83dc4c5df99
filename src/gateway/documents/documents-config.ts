import { type ErasureScheme, shardCountOf } from '../../base/erasure-scheme.ts'
import { LIMITS } from '../../base/limits.ts'
import { parseReplicaPlacement } from '../../base/replica-placement.ts'
import { quote, StoreError } from '../../base/store-error.ts'
import { parseCodedPolicy } from '../s3/coded-policy.ts'
import { DOOR_COLLECTIONS } from '../stored-bytes.ts'
import { hotFieldSet } from './hot-and-cold.ts'

/** Documents in copies and erasure-coded ones lie on volumes of their own. */
export const DOCUMENTS = DOOR_COLLECTIONS.documents
export const CODED_DOCUMENTS = DOOR_COLLECTIONS.codedDocuments

/** What is left out has its default. */
export interface DocumentsOptions {
  /** Fields that are stored apart from the others by `field_hybrid`. */
  readonly hotFields?: readonly string[] | undefined
  /** Three digits like `020`; unless given, three copies as the servers allow. */
  readonly replication?: string | undefined
  /** Of erasure-coded documents and cold fields: `ec:4+2` unless given. */
  readonly codedPolicy?: string | undefined
  /** Of one document: up to 256 MiB, 16 MiB unless given. */
  readonly documentBytesMax?: number | undefined
  /** Of all that are being written: 512 MiB unless given. */
  readonly heldBytesMax?: number | undefined
  /** `all` unless given. */
  readonly writePolicy?: 'all' | 'best-effort' | undefined
}

export interface DocumentsConfig {
  /** As they are in canonical text. */
  readonly hotFields: ReadonlySet<string>
  /** Undefined: three copies as the servers allow. */
  readonly replication: string | undefined
  readonly codedPolicy: string
  readonly scheme: ErasureScheme
  /** Shards of a stripe. */
  readonly shardCount: number
  readonly documentBytesMax: number
  readonly heldBytesMax: number
  readonly writePolicy: 'all' | 'best-effort'
}

export const HOT_FIELDS = [
  'like_count',
  'view_count',
  'inventory_count',
  'update_count',
  'status_code',
  'battery_level',
] as const

/** Forms of one document that may be in memory at once: as sent, canonical, and its cold part. */
const FORMS = 3

/**
 * @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID, REPLICA_PLACEMENT_INVALID: what cannot be.
 */
export function readDocumentsConfig(options: DocumentsOptions = {}): DocumentsConfig {
  const { codedPolicy = 'ec:4+2', hotFields = HOT_FIELDS, replication } = options
  const { writePolicy = 'all' } = options
  if (replication !== undefined) parseReplicaPlacement(replication)
  if (hotFields.some((name) => name === '')) {
    throw new StoreError('CONFIG_INVALID', 'a hot field has no name')
  }
  if (writePolicy !== 'all' && writePolicy !== 'best-effort') {
    throw new StoreError('CONFIG_INVALID', `${quote(writePolicy)} is no write policy`)
  }
  const scheme = parseCodedPolicy(codedPolicy)
  const documentBytesMax = readBytes(options.documentBytesMax ?? LIMITS.documentBytes.value)
  const held = options.heldBytesMax ?? LIMITS.documentsHeldBytes.value
  return {
    hotFields: hotFieldSet(hotFields),
    replication,
    codedPolicy,
    scheme,
    shardCount: shardCountOf(scheme),
    documentBytesMax,
    // The largest document that may be must be possible.
    heldBytesMax: Math.max(held, FORMS * documentBytesMax),
    writePolicy,
  }
}

function readBytes(bytes: number): number {
  const max = LIMITS.documentBytesMax.value
  if (Number.isInteger(bytes) && bytes > 0 && bytes <= max) return bytes
  throw new StoreError('CONFIG_INVALID', `documentBytesMax ${bytes} is not from 1 to ${max}`)
}
