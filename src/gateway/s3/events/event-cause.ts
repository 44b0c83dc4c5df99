import type { Bucket } from '../../../namespace/bucket-record.ts'
import type { EventCause, EventCauseKind } from '../../../namespace/event-record.ts'
import type { Random } from '../../../runtime/random.ts'
import { BucketView } from '../bucket-view.ts'
import type { S3Exchange } from '../s3-exchange.ts'

/** Whom S3 names when nobody asked for a change. */
const SERVICE = 's3.amazonaws.com'

/** Undefined: the bucket's settings ask for no events, and to tell of the change costs nothing. */
export function causeOf(
  exchange: S3Exchange,
  view: BucketView,
  kind: EventCauseKind,
): EventCause | undefined {
  if (!asksForEvents(view)) return undefined
  return {
    kind,
    requesterId: exchange.principal?.canonicalId ?? 'anonymous',
    sourceAddress: exchange.request.remoteAddress,
    requestId: exchange.request.requestId ?? '',
  }
}

/** Of what the gateway does by itself. */
export function ownCauseOf(
  bucket: Bucket,
  kind: EventCauseKind,
  random: Random,
): EventCause | undefined {
  if (!asksForEvents(BucketView.of(bucket))) return undefined
  const digits = () => random.u32().toString(16).toUpperCase().padStart(8, '0')
  const requestId = digits() + digits()
  return { kind, requesterId: SERVICE, sourceAddress: SERVICE, requestId }
}

function asksForEvents(view: BucketView): boolean {
  const { notification } = view.bucket.documents
  return notification !== undefined && (view.document('notification') ?? []).length > 0
}
