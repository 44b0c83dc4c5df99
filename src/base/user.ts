/** Whom requests of S3 come from, and who owns buckets and objects. */
export interface User {
  readonly name: string
  /** 64 hex digits: what owners and grantees are stored as. It never changes. */
  readonly canonicalId: string
  readonly displayName: string
  /** In lower case; unique among users. */
  readonly email: string | undefined
  /** Everything is allowed that no policy denies. */
  readonly isRoot: boolean
  /** A policy document as JSON; undefined: none. */
  readonly policy: string | undefined
  readonly createdAtMs: number
}

export interface NewUser {
  readonly name: string
  /** Undefined: the name. */
  readonly displayName?: string | undefined
  readonly email?: string | undefined
  readonly policy?: string | undefined
}

/** What can be known of an access key without its secret. */
export interface UserKey {
  readonly accessKeyId: string
  readonly userName: string
  readonly createdAtMs: number
  readonly isEnabled: boolean
}

export interface UserKeyWithSecret extends UserKey {
  readonly secret: string
}

export interface NewUserKey {
  readonly userName: string
  /** Undefined: a random one. */
  readonly accessKeyId?: string | undefined
  readonly secret?: string | undefined
}

/** An access key that may be used, and whose it is. */
export interface FoundKey {
  readonly accessKeyId: string
  readonly secret: string
  readonly user: User
}
