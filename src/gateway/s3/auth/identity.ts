/** Who a request comes from, once its signature was found good. */
export interface Identity {
  /** 64 hex digits; owners and grantees are named by it. */
  readonly canonicalId: string
  /** Unique among users. */
  readonly name: string
  readonly displayName: string
  readonly email: string | undefined
  /** Everything is allowed that no policy denies. */
  readonly isRoot: boolean
  /** A policy document as JSON; undefined: it has no rights but those of its own buckets. */
  readonly policy: string | undefined
}

export interface AccessKey {
  readonly accessKeyId: string
  readonly secret: string
  readonly user: Identity
}

/** Where keys are looked up. */
export interface KeyRing {
  /** Undefined: there is no such key, or it was switched off. */
  findKey(accessKeyId: string): Promise<AccessKey | undefined> | AccessKey | undefined
}
