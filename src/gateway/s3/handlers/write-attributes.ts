import type { WriteCondition } from '../../../namespace/namespace-api.ts'
import {
  type ObjectAttributes,
  RETENTION_MODES,
  type Retention,
  STORAGE_CLASSES,
  type StorageClass,
} from '../../../namespace/object-version.ts'
import type { ObjectAccess } from '../access/authorize.ts'
import { checkPutAcl, ownerOfNewObject } from '../access/put-acl-rules.ts'
import type { Owner } from '../bucket-settings.ts'
import type { BucketView } from '../bucket-view.ts'
import { parseTaggingHeader } from '../documents/tagging.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { readContentHeaders } from '../object-headers.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { parseIso8601 } from '../xml/xml-reader.ts'
import { ownerOf } from './bucket-documents.ts'
import { grantsOf, readHeaderAcl } from './requested-acl.ts'

const DAY_MS = 86_400_000
/** Anybody may write where anybody may: what they write belongs to nobody that has a name. */
const ANONYMOUS: Owner = {
  id: '65a011a29cdf8ec533ec3d1ccaae921c00000000000000000000000000000000',
  displayName: '',
}

export interface WriteAttributes extends ObjectAttributes {
  readonly storageClass: StorageClass
  readonly ownerId: string | undefined
}

/** All that a request says of the object it writes, but the body. Asks whether that is allowed. */
export async function readWriteAttributes(
  exchange: S3Exchange,
  view: BucketView,
): Promise<WriteAttributes> {
  refuseEncryption(exchange)
  const content = readContentHeaders(exchange)
  const tagging = exchange.header('x-amz-tagging')
  const tags = tagging === undefined ? [] : parseTaggingHeader(tagging)
  exchange.authorize('s3:PutObject')
  if (tagging !== undefined) exchange.authorize('s3:PutObjectTagging')
  const { acl, ownerId } = await readObjectAcl(exchange, view)
  return {
    ...content,
    ...readLock(exchange, view),
    tags,
    acl,
    ownerId,
    storageClass: readStorageClass(exchange),
  }
}

/** The list and the owner of the object that the request makes. */
async function readObjectAcl(
  exchange: S3Exchange,
  view: BucketView,
): Promise<{ readonly acl: string | undefined; readonly ownerId: string | undefined }> {
  const { principal } = exchange
  const bucketOwner = await ownerOf(exchange, view.bucket.ownerId)
  const writer =
    principal === undefined
      ? ANONYMOUS
      : { id: principal.canonicalId, displayName: principal.displayName }
  const asked = readHeaderAcl(exchange, { kind: 'object', owner: writer, bucketOwner })
  const owner = ownerOfNewObject(view.ownership, { writer, bucketOwner }, asked?.canned)
  // A canned list is the owner's, who need not be the writer: a second look names the right one.
  const added = asked && readHeaderAcl(exchange, { kind: 'object', owner, bucketOwner })
  const ownerId = owner.id === bucketOwner.id ? undefined : owner.id
  if (added === undefined) return { acl: undefined, ownerId }
  const rules = {
    ownerId: bucketOwner.id,
    ownership: view.ownership,
    publicAccessBlock: view.document('publicAccess'),
  }
  checkPutAcl(added, rules)
  if (view.ownership === 'BucketOwnerEnforced' || added.canned === 'private') {
    return { acl: undefined, ownerId }
  }
  exchange.authorize('s3:PutObjectAcl', { object: newObjectOf(writer) })
  const grants = await grantsOf(exchange, added)
  return { acl: JSON.stringify({ owner, grants }), ownerId }
}

/** Whoever writes an object may say who else shall have it, also one who is nobody. */
function newObjectOf(writer: Owner): ObjectAccess {
  const grantee = { kind: 'group', group: 'AllUsers' } as const
  const acl = { owner: writer, grants: [{ grantee, permission: 'FULL_CONTROL' }] } as const
  return { ownerId: writer.id, tags: [], acl: writer === ANONYMOUS ? acl : undefined }
}

/** @throws {S3Error} InvalidStorageClass */
export function readStorageClass(exchange: S3Exchange): StorageClass {
  const text = exchange.header('x-amz-storage-class')
  if (text === undefined || text === '') return 'STANDARD'
  const found = STORAGE_CLASSES.find((known) => known === text)
  if (found !== undefined) return found
  const fields = { StorageClassRequested: text }
  throw new S3Error('InvalidStorageClass', undefined, { fields })
}

/** `If-Match` and `If-None-Match`, for the moment in which the object is there. */
export function readWriteCondition(exchange: S3Exchange): WriteCondition | undefined {
  const ifMatch = readETags(exchange.header('if-match'))
  const ifNoneMatch = readETags(exchange.header('if-none-match'))
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined
  return { ifMatch, ifNoneMatch }
}

/** What the headers, or else the bucket, say of how long a new version is kept. */
function readLock(
  exchange: S3Exchange,
  view: BucketView,
): { readonly retention: Retention | undefined; readonly isLegalHold: boolean } {
  const hold = exchange.header('x-amz-object-lock-legal-hold')
  const asked = readRetentionHeaders(exchange)
  const { isLockEnabled } = view.bucket
  if ((hold !== undefined || asked !== undefined) && !isLockEnabled) {
    throw new S3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration')
  }
  if (hold !== undefined && hold !== 'ON' && hold !== 'OFF') {
    throw invalidArgument(
      'Legal Hold must be either ON or OFF',
      'x-amz-object-lock-legal-hold',
      hold,
    )
  }
  if (hold !== undefined) exchange.authorize('s3:PutObjectLegalHold')
  if (asked !== undefined) exchange.authorize('s3:PutObjectRetention')
  const retention = asked ?? (isLockEnabled ? defaultRetention(exchange, view) : undefined)
  return { retention, isLegalHold: hold === 'ON' }
}

function readRetentionHeaders(exchange: S3Exchange): Retention | undefined {
  const modeText = exchange.header('x-amz-object-lock-mode')
  const untilText = exchange.header('x-amz-object-lock-retain-until-date')
  if (modeText === undefined && untilText === undefined) return undefined
  if (modeText === undefined || untilText === undefined) {
    const message =
      'x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied'
    throw new S3Error('InvalidArgument', message)
  }
  const mode = RETENTION_MODES.find((known) => known === modeText)
  if (mode === undefined) {
    throw invalidArgument('Unknown wormMode directive.', 'x-amz-object-lock-mode', modeText)
  }
  const untilMs = parseIso8601(untilText.trim())
  if (untilMs === undefined) {
    const message = 'The retain until date must be provided in ISO 8601 format'
    throw invalidArgument(message, 'x-amz-object-lock-retain-until-date', untilText)
  }
  if (untilMs <= exchange.parts.clock.nowMs()) {
    const message = 'The retain until date must be in the future!'
    throw invalidArgument(message, 'x-amz-object-lock-retain-until-date', untilText)
  }
  return { mode, untilMs }
}

function defaultRetention(exchange: S3Exchange, view: BucketView): Retention | undefined {
  const rule = view.document('objectLock')?.defaultRetention
  if (rule === undefined) return undefined
  const until = new Date(exchange.parts.clock.nowMs())
  if (rule.years !== undefined) until.setUTCFullYear(until.getUTCFullYear() + rule.years)
  return { mode: rule.mode, untilMs: until.getTime() + (rule.days ?? 0) * DAY_MS }
}

function readETags(header: string | undefined): readonly string[] | undefined {
  if (header === undefined) return undefined
  return header.split(',').map((tag) =>
    tag
      .trim()
      .replace(/^W\//, '')
      .replace(/^"(.*)"$/, '$1'),
  )
}

/** There is none: to take the key and store plain bytes would be a lie. */
function refuseEncryption(exchange: S3Exchange): void {
  const algorithm = exchange.header('x-amz-server-side-encryption')
  if (algorithm !== undefined && algorithm !== 'AES256') {
    if (!algorithm.startsWith('aws:')) {
      throw invalidArgument(
        'This is no known encryption',
        'x-amz-server-side-encryption',
        algorithm,
      )
    }
    throw new S3Error('NotImplemented', 'Encryption with keys of KMS is not implemented.')
  }
  if (exchange.header('x-amz-server-side-encryption-customer-algorithm') !== undefined) {
    throw new S3Error('NotImplemented', 'Encryption with keys of customers is not implemented.')
  }
}
