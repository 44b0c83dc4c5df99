import type { EventCause } from './event-record.ts'
import type { DeleteObjectRequest, DeleteObjectResult } from './namespace-api.ts'
import { type ObjectVersion, publicVersionId } from './object-version.ts'

/** What an event says of a change beside its cause. */
export interface EventFacts {
  /** Like `ObjectCreated:Put`. */
  readonly name: string
  readonly key: string
  /** That was made or changed; undefined: of what is gone nothing is told. */
  readonly version: ObjectVersion | undefined
  /** As clients know it. */
  readonly versionId: string | undefined
}

/** How to tell of a change, once its result is known. */
export interface Told<Result> {
  readonly cause: EventCause
  readonly factsOf: (result: Result) => EventFacts
}

/** Undefined: nobody is to hear of it. */
export function toldVersion({
  cause,
  key,
}: {
  readonly cause?: EventCause | undefined
  readonly key: string
}): Told<ObjectVersion> | undefined {
  if (cause === undefined) return undefined
  const name = cause.kind
  const factsOf = (version: ObjectVersion): EventFacts => {
    return { name, key, version, versionId: publicVersionId(version) }
  }
  return { cause, factsOf }
}

export function toldDelete(request: DeleteObjectRequest): Told<DeleteObjectResult> | undefined {
  const { cause, key } = request
  if (cause === undefined) return undefined
  const factsOf = ({ isMarker, versionId }: DeleteObjectResult): EventFacts => {
    // With a version id given, the marker is what was deleted.
    const isMade = isMarker && request.versionId === undefined
    const name = `${cause.kind}:${isMade ? 'DeleteMarkerCreated' : 'Delete'}`
    return { name, key, version: undefined, versionId }
  }
  return { cause, factsOf }
}
