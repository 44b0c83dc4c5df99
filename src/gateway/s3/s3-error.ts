/**
 * The errors of S3 that this gateway answers with: the status and what is said unless the one who
 * throws has something better to say. Source: the S3 API reference, "Error responses".
 */
export const S3_ERRORS = {
  AccessControlListNotSupported: [400, 'The bucket does not allow ACLs'],
  AccessDenied: [403, 'Access Denied'],
  AccessForbidden: [403, 'CORSResponse: This CORS request is not allowed.'],
  AuthorizationHeaderMalformed: [400, 'The authorization header that you provided is not valid.'],
  AuthorizationQueryParametersError: [400, 'The query authorization parameters are not valid.'],
  BadDigest: [400, 'The checksum you specified does not match what was received.'],
  BucketAlreadyExists: [409, 'The requested bucket name is not available.'],
  BucketAlreadyOwnedByYou: [409, 'The bucket already exists, and you own it.'],
  BucketNotEmpty: [409, 'The bucket you tried to delete is not empty.'],
  ConditionalRequestConflict: [409, 'Another request changed the object meanwhile. Try again.'],
  EntityTooLarge: [400, 'The upload exceeds the largest size that is allowed.'],
  EntityTooSmall: [400, 'The upload is smaller than the smallest size that is allowed.'],
  ExpiredToken: [400, 'The provided token has expired.'],
  IllegalLocationConstraintException: [400, 'The location constraint does not fit this region.'],
  IllegalVersioningConfigurationException: [400, 'The versioning status must be specified.'],
  IncompleteBody: [400, 'The body ended before as many bytes had come as the headers announced.'],
  InternalError: [500, 'An internal error occurred. Try again.'],
  InvalidAccessKeyId: [403, 'The access key id does not exist in our records.'],
  InvalidArgument: [400, 'Invalid Argument'],
  InvalidBucketAclWithObjectOwnership: [
    400,
    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
  ],
  InvalidBucketName: [400, 'The specified bucket is not valid.'],
  InvalidBucketState: [409, 'The request is not valid for the current state of the bucket.'],
  InvalidDigest: [400, 'The Content-MD5 or checksum value that you specified is not valid.'],
  InvalidObjectState: [403, 'The operation is not valid for the current state of the object.'],
  InvalidPart: [400, 'A part could not be found, or its entity tag does not match.'],
  InvalidPartNumber: [416, 'The requested part number is not satisfiable.'],
  InvalidPartOrder: [400, 'The list of parts was not in ascending order.'],
  InvalidPolicyDocument: [
    400,
    'The content of the form does not meet the conditions of its policy.',
  ],
  InvalidRange: [416, 'The requested range is not satisfiable'],
  InvalidRedirectLocation: [400, 'A redirect must begin with http://, https:// or /.'],
  InvalidRequest: [400, 'Invalid Request'],
  InvalidStorageClass: [400, 'The storage class you specified is not valid.'],
  InvalidTag: [400, 'The tag provided was not a valid tag.'],
  InvalidURI: [400, 'The specified URI could not be parsed.'],
  KeyTooLongError: [400, 'Your key is too long.'],
  MalformedACLError: [400, 'The ACL that you provided is not well formed.'],
  MalformedPOSTRequest: [
    400,
    'The body of the POST request is not well-formed multipart/form-data.',
  ],
  MalformedPolicy: [400, 'The policy is not well formed.'],
  MalformedTrailerError: [400, 'The request contained trailing data that is not well formed.'],
  MalformedXML: [400, 'The XML that you provided is not well formed.'],
  MaxPostPreDataLengthExceeded: [400, 'The fields before the upload file were too large.'],
  MaxMessageLengthExceeded: [400, 'Your request was too large.'],
  MetadataTooLarge: [400, 'Your metadata headers exceed the largest size that is allowed.'],
  MethodNotAllowed: [405, 'The specified method is not allowed against this resource.'],
  MissingContentLength: [411, 'You must provide the Content-Length HTTP header.'],
  MissingRequestBodyError: [400, 'The request body is empty.'],
  MissingSecurityHeader: [400, 'Your request is missing a required header.'],
  NoSuchBucket: [404, 'The specified bucket does not exist'],
  NoSuchBucketPolicy: [404, 'The bucket policy does not exist'],
  NoSuchCORSConfiguration: [404, 'The CORS configuration does not exist'],
  NoSuchKey: [404, 'The specified key does not exist.'],
  NoSuchLifecycleConfiguration: [404, 'The lifecycle configuration does not exist'],
  NoSuchObjectLockConfiguration: [404, 'The object does not have an ObjectLock configuration'],
  NoSuchPublicAccessBlockConfiguration: [404, 'The public access block does not exist'],
  NoSuchTagSet: [404, 'The TagSet does not exist'],
  NoSuchUpload: [
    404,
    'The specified upload does not exist. It may have been aborted or completed.',
  ],
  NoSuchVersion: [404, 'The specified version does not exist.'],
  NoSuchWebsiteConfiguration: [404, 'The bucket does not have a website configuration'],
  NotImplemented: [501, 'A header or operation you provided is not implemented.'],
  NotModified: [304, 'Not Modified'],
  ObjectLockConfigurationNotFoundError: [404, 'The bucket has no object lock configuration'],
  OwnershipControlsNotFoundError: [404, 'The bucket ownership controls were not found'],
  PreconditionFailed: [412, 'At least one of the preconditions you specified did not hold'],
  QuotaExceeded: [403, 'The bucket has reached its quota.'],
  ReplicationConfigurationNotFoundError: [404, 'The replication configuration was not found'],
  RequestTimeTooSkewed: [403, 'The difference between the request time and ours is too large.'],
  RequestTimeout: [400, 'The body was not sent within the time allowed.'],
  ServerSideEncryptionConfigurationNotFoundError: [
    404,
    'The server side encryption configuration was not found',
  ],
  SignatureDoesNotMatch: [
    403,
    'The request signature we calculated does not match the signature you provided.',
  ],
  SlowDown: [503, 'Please reduce your request rate.'],
  ServiceUnavailable: [503, 'The service cannot answer now. Try again.'],
  TooManyBuckets: [400, 'You have attempted to create more buckets than allowed.'],
  UnresolvableGrantByEmailAddress: [400, 'The email address does not match any account.'],
  UnexpectedContent: [400, 'This request does not support content.'],
  XAmzContentSHA256Mismatch: [
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
  ],
} as const satisfies Record<string, readonly [status: number, message: string]>

export type S3ErrorCode = keyof typeof S3_ERRORS

export interface S3ErrorOptions {
  readonly cause?: unknown
  /** Elements beside Code and Message, such as Region or BucketName. */
  readonly fields?: Readonly<Record<string, string>> | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** An answer that is an error of S3's. Branch on the code; the message is for people. */
export class S3Error extends Error {
  override readonly name = 'S3Error'
  readonly code: S3ErrorCode
  readonly fields: Readonly<Record<string, string>>
  /** To be sent with the answer. */
  readonly headers: Readonly<Record<string, string>>

  /** Without `message`: what the table says. */
  constructor(code: S3ErrorCode, message?: string, options: S3ErrorOptions = {}) {
    super(message ?? S3_ERRORS[code][1], options.cause === undefined ? {} : options)
    this.code = code
    this.fields = options.fields ?? {}
    this.headers = options.headers ?? {}
  }

  get status(): number {
    return S3_ERRORS[this.code][0]
  }
}

/** True for an `S3Error` with one of `codes`; without codes, for any. */
export function isS3Error(error: unknown, ...codes: S3ErrorCode[]): error is S3Error {
  if (!(error instanceof S3Error)) return false
  return codes.length === 0 || codes.includes(error.code)
}
