import type { Bucket, BucketDocument } from '../../namespace/bucket-record.ts'
import type { BucketRef } from '../../namespace/namespace-api.ts'
import { expandCannedAcl } from './access/acl.ts'
import type { BucketAccess } from './access/authorize.ts'
import { type Policy, parseBucketPolicy } from './access/policy-document.ts'
import type {
  AccessControlList,
  CorsRule,
  LifecycleRule,
  NotificationTarget,
  ObjectLockSettings,
  ObjectOwnership,
  Owner,
  PublicAccessBlock,
  Tag,
} from './bucket-settings.ts'

/** Values of the documents that are stored as JSON. */
export interface DocumentValues {
  readonly acl: AccessControlList
  readonly cors: readonly CorsRule[]
  readonly encryption: { readonly algorithm: 'AES256'; readonly isBucketKeyEnabled: boolean }
  readonly lifecycle: readonly LifecycleRule[]
  readonly notification: readonly NotificationTarget[]
  readonly objectLock: ObjectLockSettings
  readonly ownership: ObjectOwnership
  readonly publicAccess: PublicAccessBlock
  readonly tagging: readonly Tag[]
}

export type JsonDocument = keyof DocumentValues & BucketDocument

const views = new WeakMap<Bucket, BucketView>()

/** A bucket with its documents read, each when it is first asked for. */
export class BucketView {
  readonly bucket: Bucket
  readonly ref: BucketRef
  readonly #values = new Map<JsonDocument, unknown>()
  #policy: Policy | undefined
  #access: BucketAccess | undefined

  private constructor(bucket: Bucket) {
    this.bucket = bucket
    this.ref = { name: bucket.name, id: bucket.id }
  }

  /** The namespace gives the same value until the bucket is changed: it is read once. */
  static of(bucket: Bucket): BucketView {
    const known = views.get(bucket)
    if (known !== undefined) return known
    const view = new BucketView(bucket)
    views.set(bucket, view)
    return view
  }

  document<Kind extends JsonDocument>(kind: Kind): DocumentValues[Kind] | undefined {
    if (this.#values.has(kind)) return this.#values.get(kind) as DocumentValues[Kind] | undefined
    const text = this.bucket.documents[kind]
    const value = text === undefined ? undefined : (JSON.parse(text) as DocumentValues[Kind])
    this.#values.set(kind, value)
    return value
  }

  get policy(): Policy | undefined {
    const text = this.bucket.documents.policy
    if (text !== undefined) this.#policy ??= parseBucketPolicy(text, this.bucket.name)
    return this.#policy
  }

  get ownership(): ObjectOwnership {
    return this.document('ownership') ?? 'BucketOwnerEnforced'
  }

  get acl(): AccessControlList {
    const owner: Owner = { id: this.bucket.ownerId, displayName: '' }
    const target = { kind: 'bucket', owner, bucketOwner: owner } as const
    return this.document('acl') ?? expandCannedAcl('private', target)
  }

  get access(): BucketAccess {
    this.#access ??= {
      name: this.bucket.name,
      ownerId: this.bucket.ownerId,
      policy: this.policy,
      acl: this.acl,
      publicAccessBlock: this.document('publicAccess'),
      ownership: this.ownership,
    }
    return this.#access
  }
}
