import type { ObjectEvent } from '../../../namespace/event-record.ts'

/**
 * What is posted for an event: one record, as S3 sends it. Source: the S3 user guide, "Event
 * message structure", version 2.1. Two values are kept as S3 gives them, so that consumers need not
 * tell servers apart: `eventSource`, and the partition in the bucket's ARN.
 */
export function writeEventMessage(event: ObjectEvent, region: string): string {
  const { bucketName, etag: eTag, sizeBytes: size, storageClass, versionId } = event
  const record = {
    eventVersion: '2.1',
    eventSource: 'aws:s3',
    awsRegion: region,
    eventTime: new Date(event.timeMs).toISOString(),
    eventName: event.name,
    userIdentity: { principalId: event.requesterId },
    requestParameters: { sourceIPAddress: event.sourceAddress },
    responseElements: { 'x-amz-request-id': event.requestId },
    s3: {
      s3SchemaVersion: '1.0',
      configurationId: event.configurationId,
      bucket: {
        name: bucketName,
        ownerIdentity: { principalId: event.bucketOwnerId },
        arn: `arn:aws:s3:::${bucketName}`,
      },
      object: {
        key: encodeEventKey(event.key),
        ...(size !== undefined && { size }),
        ...(eTag !== undefined && { eTag }),
        ...(versionId !== undefined && { versionId }),
        sequencer: event.id.toUpperCase(),
      },
    },
    ...(storageClass !== undefined && {
      lifecycleEventData: { transitionEventData: { destinationStorageClass: storageClass } },
    }),
  }
  return JSON.stringify({ Records: [record] })
}

/** As in a form: a space is `+`; but slashes stay, as S3 leaves them. */
export function encodeEventKey(key: string): string {
  return encodeURIComponent(key)
    .replace(/[!'()~]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')
    .replaceAll('%2F', '/')
}
