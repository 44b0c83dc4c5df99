import type { MetadataBatch } from '../../src/metadata/metadata-store.ts'
import type {
  BucketRef,
  NewVersion,
  ObjectChange,
  PutObjectRequest,
  WriteCondition,
} from '../../src/namespace/namespace-api.ts'
import {
  decodeObjectVersion,
  NO_ATTRIBUTES,
  type ObjectVersion,
  type Retention,
} from '../../src/namespace/object-version.ts'
import type { Upload, UploadedPart } from '../../src/namespace/upload-record.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import * as model from './namespace-model.ts'
import { objectsPage, uploadsPage, versionsPage } from './namespace-model-lists.ts'
import type { NamespaceWorld, Operation } from './namespace-world.ts'
import type { Prng } from './prng.ts'

export const BUCKETS = ['one', 'two']
const KEYS = ['a', 'a/', 'a/b', 'a/c', 'a//b', 'b', '\uffff', '\u{1f600}/x']
const TEXTS = ['', '', 'a', 'a/', 'a//', 'b', '\uffff', '\u{1f600}', 'x']
const DELIMITERS = ['', '', '/', '//', '\u{1f600}', 'b']
const ETAGS = ['0', '1', '2'].map((digit) => digit.repeat(32))

interface Mark {
  readonly after: string
  readonly version?: string | undefined
  readonly upload?: string | undefined
}

/** Makes operations at random, with what earlier ones left: ids, requests, places in lists. */
export class NamespaceOperations {
  readonly #prng: Prng
  readonly #world: NamespaceWorld
  readonly #puts: PutObjectRequest[] = []
  readonly #intended: NewVersion[] = []
  readonly #parts: { readonly place: model.Place; readonly id: string; readonly part: Part }[] = []
  readonly #marks: Mark[] = []
  readonly #keys: readonly string[]
  #fileCount = 0

  constructor(world: NamespaceWorld, prng: Prng) {
    this.#world = world
    this.#prng = prng
    this.#keys = prng.shuffle(KEYS).slice(0, prng.between(2, 4))
  }

  next(): Operation {
    const kinds: readonly [number, () => Operation][] = [
      [14, () => this.#put()],
      [4, () => this.#repeatPut()],
      [5, () => this.#putIntent()],
      [4, () => this.#putIntended()],
      [2, () => this.#undoIntent()],
      [3, () => this.#putShared()],
      [14, () => this.#find()],
      [12, () => this.#delete()],
      [5, () => this.#change()],
      [10, () => this.#createUpload()],
      [14, () => this.#putPart()],
      [5, () => this.#completeUpload()],
      [2, () => this.#abortUpload()],
      [3, () => this.#lookAtUpload()],
      [5, () => this.#listObjects()],
      [8, () => this.#listVersions()],
      [4, () => this.#listUploads()],
      [4, () => this.#setVersioning()],
      [3, () => this.#createBucket()],
      [2, () => this.#deleteBucket()],
      [2, () => this.#usage()],
    ]
    let choice = this.#prng.below(kinds.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, make] of kinds) {
      if (choice < weight) return make()
      choice -= weight
    }
    return this.#find()
  }

  createBucket(name: string): Operation {
    return {
      text: `create ${name}`,
      run: async (namespace, signal) => {
        const request = { name, ownerId: 'o', isLockEnabled: false, documents: {} }
        return (await namespace.createBucket(request, signal)).id
      },
      apply: (state) => model.createBucket(state, name),
    }
  }

  #createBucket(): Operation {
    return this.createBucket(this.#prng.pick(BUCKETS))
  }

  #deleteBucket(): Operation {
    const { bucket, id } = this.#place()
    return {
      text: `delete bucket ${bucket} ${id}`,
      run: (namespace, signal) => namespace.deleteBucket({ name: bucket, id }, signal),
      apply: (state) => model.deleteBucket(state, bucket, id),
    }
  }

  #setVersioning(): Operation {
    const { bucket, id } = this.#place()
    const versioning = this.#prng.pick(['enabled', 'enabled', 'suspended'] as const)
    return {
      text: `set versioning of ${bucket} ${id} ${versioning}`,
      run: async (namespace, signal) => {
        const changed = await namespace.changeBucket({ name: bucket, id }, { versioning }, signal)
        return changed.versioning
      },
      apply: (state) => model.setVersioning(state, bucket, id, versioning),
    }
  }

  #usage(): Operation {
    const { bucket, id } = this.#place()
    return {
      text: `usage of ${bucket} ${id}`,
      run: async (namespace, signal) => {
        await namespace.bucketUsage({ name: bucket, id }, signal)
      },
      apply: (state) =>
        state.buckets.get(bucket)?.id === id ? { state } : { state, error: 'BUCKET_NOT_FOUND' },
    }
  }

  #put(): Operation {
    const place = this.#place()
    const request = {
      bucket: refOf(place),
      key: place.key,
      version: this.#newVersion(),
      condition: this.#condition(),
    }
    this.#puts.push(request)
    return this.#putOf(request)
  }

  #repeatPut(): Operation {
    if (this.#puts.length === 0) return this.#put()
    return this.#putOf(this.#prng.pick(this.#puts.slice(-20)))
  }

  #putIntent(): Operation {
    const place = this.#place()
    const isMore = this.#intended.length > 0 && this.#prng.chance(0.3)
    const version = isMore ? this.#prng.pick(this.#intended.slice(-10)) : this.#newVersion()
    if (!isMore) this.#intended.push(version)
    const { id } = version
    const fileIds = version.parts.map(({ fileId }) => fileId)
    const request = { id, session: 's', bucket: place.bucket, key: place.key, fileIds, isMore }
    return {
      text: `intent ${id}`,
      fileIds,
      run: (namespace, signal) => namespace.putIntent(request, signal),
      apply: (state) => model.putIntent(state, id, fileIds, isMore),
    }
  }

  /** Of an intent that is there, most of the time. */
  #putIntended(): Operation {
    if (this.#intended.length === 0) return this.#putIntent()
    const place = this.#place()
    const version = this.#prng.pick(this.#intended.slice(-10))
    const request = { bucket: refOf(place), key: place.key, version, intentId: version.id }
    this.#puts.push(request)
    return this.#putOf(request)
  }

  #undoIntent(): Operation {
    if (this.#intended.length === 0) return this.#putIntent()
    const { id } = this.#prng.pick(this.#intended.slice(-10))
    return {
      text: `undo ${id}`,
      run: (namespace, signal) => namespace.undoIntent({ id, isOnlyIfOrphaned: false }, signal),
      apply: (state) => model.undoIntent(state, id),
    }
  }

  /** With some of the files of the version that was there a moment ago. */
  #putShared(): Operation {
    const place = this.#place()
    const before = this.#versionOf(place)
    if (before === undefined) return this.#put()
    const version = this.#newVersion()
    const parts = [...version.parts, ...before.parts.slice(0, 1)]
    const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0)
    const request = {
      bucket: refOf(place),
      key: place.key,
      version: { ...version, parts, sizeBytes },
      sharesWith: before.id,
    }
    this.#puts.push(request)
    return this.#putOf(request)
  }

  #putOf(request: PutObjectRequest): Operation {
    const { bucket, key, version } = request
    const place = this.#placeOf(bucket, key)
    return {
      text: `put ${version.id} as ${key} in ${bucket.name} ${bucket.id}`,
      fileIds: version.parts.map(({ fileId }) => fileId),
      run: (namespace, signal) => namespace.putObject(request, signal),
      apply: (state) => model.put(state, place, version, request),
    }
  }

  #find(): Operation {
    const place = this.#place()
    const versionId = this.#prng.chance(0.4) ? undefined : this.#versionIdOf(place)
    return {
      text: `find ${versionId} of ${place.key} in ${place.bucket} ${place.id}`,
      run: (namespace, signal) =>
        namespace.findObject({ bucket: refOf(place), key: place.key, versionId }, signal),
      apply: (state) => model.find(state, place, versionId),
    }
  }

  #delete(): Operation {
    const place = this.#place()
    const options = {
      versionId: this.#prng.chance(0.5) ? undefined : this.#versionIdOf(place),
      bypassesGovernance: this.#prng.chance(0.5),
      condition: this.#prng.chance(0.1) ? this.#condition() : undefined,
      seq: this.#prng.chance(0.1) ? this.#versionOf(place)?.seq : undefined,
      isNoncurrent: this.#prng.chance(0.2),
    }
    return {
      text: `delete ${JSON.stringify(options)} of ${place.key} in ${place.bucket} ${place.id}`,
      run: (namespace, signal) =>
        namespace.deleteObject({ bucket: refOf(place), key: place.key, ...options }, signal),
      apply: (state, batch) => model.remove(state, place, options, markerIn(batch)),
    }
  }

  #change(): Operation {
    const place = this.#place()
    const versionId = this.#prng.chance(0.5) ? undefined : this.#versionIdOf(place)
    const bypassesGovernance = this.#prng.chance(0.3)
    const change = this.#objectChange(place)
    return {
      text: `change ${versionId} of ${place.key} in ${place.bucket}: ${JSON.stringify(change)}`,
      fileIds: change.moved?.parts.map(({ fileId }) => fileId) ?? [],
      run: (namespace, signal) => {
        const target = { bucket: refOf(place), key: place.key, versionId }
        return namespace.changeObject({ ...target, change, bypassesGovernance }, signal)
      },
      apply: (state) => model.change(state, place, versionId, change, bypassesGovernance),
    }
  }

  #createUpload(): Operation {
    const place = this.#place()
    const upload: Upload = {
      ...NO_ATTRIBUTES,
      key: place.key,
      uploadId: this.#newId(),
      startedAtMs: place.nowMs,
      storageClass: 'STANDARD',
      ownerId: undefined,
      checksumAlgorithm: undefined,
      checksumType: undefined,
    }
    return {
      text: `create upload ${upload.uploadId} of ${place.key} in ${place.bucket} ${place.id}`,
      run: (namespace, signal) => namespace.createUpload({ bucket: refOf(place), upload }, signal),
      apply: (state) => model.createUpload(state, place, upload),
    }
  }

  #putPart(): Operation {
    const { place, uploadId } = this.#upload()
    const isRepeat = this.#parts.length > 0 && this.#prng.chance(0.2)
    const made = {
      partNumber: this.#prng.between(1, 3),
      fileId: this.#newFile(),
      sizeBytes: this.#prng.below(100),
      md5: this.#prng.pick(ETAGS),
      checksum: undefined,
    }
    const target = isRepeat
      ? this.#prng.pick(this.#parts.slice(-10))
      : { place, id: uploadId, part: made }
    if (!isRepeat) this.#parts.push(target)
    const { part } = target
    const at = this.#placeOf(refOf(target.place), target.place.key)
    return {
      text: `put part ${part.partNumber} ${part.fileId} of ${target.id}`,
      fileIds: [part.fileId],
      run: (namespace, signal) =>
        namespace.putPart({ ...uploadRefOf(at, target.id), part }, signal),
      apply: (state) => model.putPart(state, at, target.id, part),
    }
  }

  #completeUpload(): Operation {
    const { place, uploadId } = this.#upload()
    const upload = this.#world.state.buckets.get(place.bucket)?.uploads.get(uploadId)
    const numbers = [...(upload?.parts.keys() ?? [])].sort((a, b) => a - b)
    const parts = numbers.flatMap((partNumber) => {
      const fileId = upload?.parts.get(partNumber)?.fileId
      return fileId === undefined || this.#prng.chance(0.2) ? [] : [{ partNumber, fileId }]
    })
    const etag = `${this.#prng.pick(ETAGS)}-${Math.max(1, parts.length)}`
    const request = { uploadId, parts, etag, condition: this.#condition() }
    return {
      text: `complete ${uploadId} of ${place.key} in ${place.bucket} ${place.id}`,
      run: (namespace, signal) =>
        namespace.completeUpload(
          { ...request, bucket: refOf(place), key: place.key, checksum: undefined },
          signal,
        ),
      apply: (state) => model.completeUpload(state, place, request),
    }
  }

  #abortUpload(): Operation {
    const { place, uploadId } = this.#upload()
    return {
      text: `abort ${uploadId}`,
      run: (namespace, signal) => namespace.abortUpload(uploadRefOf(place, uploadId), signal),
      apply: (state) => model.abortUpload(state, place, uploadId),
    }
  }

  #lookAtUpload(): Operation {
    const { place, uploadId } = this.#upload()
    const ref = uploadRefOf(place, uploadId)
    if (this.#prng.chance(0.5)) {
      return {
        text: `find upload ${uploadId}`,
        run: (namespace, signal) => namespace.findUpload(ref, signal),
        apply: (state) => model.findUpload(state, place, uploadId),
      }
    }
    return {
      text: `list parts of ${uploadId}`,
      run: (namespace, signal) => namespace.listParts({ ...ref, after: 0, limit: 1000 }, signal),
      apply: (state) => model.listParts(state, place, uploadId),
    }
  }

  #listObjects(): Operation {
    const place = this.#place()
    const request = { bucket: refOf(place), ...this.#page() }
    return {
      text: `list ${JSON.stringify(request)}`,
      run: (namespace, signal) => namespace.listObjects(request, signal),
      apply: (state) => {
        const bucket = model.bucketOf(state, place)
        if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
        return { state, value: objectsPage(bucket, request) }
      },
    }
  }

  #listVersions(): Operation {
    const place = this.#place()
    const mark = this.#mark(place)
    const page = this.#page()
    const request = { bucket: refOf(place), ...page, ...mark, afterVersionId: mark?.version }
    return {
      text: `list versions ${JSON.stringify(request)}`,
      run: (namespace, signal) => namespace.listVersions(request, signal),
      apply: (state) => {
        const bucket = model.bucketOf(state, place)
        if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
        return { state, value: versionsPage(bucket, request) }
      },
      onDone: (value) => {
        const { next } = value as ReturnType<typeof versionsPage>
        if (next) this.#marks.push({ after: next.after, version: next.afterVersionId })
      },
    }
  }

  #listUploads(): Operation {
    const place = this.#place()
    const mark = this.#mark(place)
    const request = { bucket: refOf(place), ...this.#page(), ...mark, afterUploadId: mark?.upload }
    return {
      text: `list uploads ${JSON.stringify(request)}`,
      run: (namespace, signal) => namespace.listUploads(request, signal),
      apply: (state) => {
        const bucket = model.bucketOf(state, place)
        if (bucket === undefined) return { state, error: 'BUCKET_NOT_FOUND' }
        return { state, value: uploadsPage(bucket, request) }
      },
      onDone: (value) => {
        const { next } = value as ReturnType<typeof uploadsPage>
        if (next) this.#marks.push({ after: next.after, upload: next.afterUploadId })
      },
    }
  }

  #page() {
    return {
      prefix: this.#prng.pick(TEXTS),
      delimiter: this.#prng.pick(DELIMITERS),
      after: this.#prng.chance(0.5) ? '' : this.#prng.pick([...TEXTS, ...this.#keys]),
      limit: this.#prng.pick([1, 1, 2, 3, 1000]),
    }
  }

  /** Where an earlier page ended, or a version that may be gone. */
  #mark(place: model.Place): Mark | undefined {
    if (this.#prng.chance(0.4)) return undefined
    if (this.#marks.length > 0 && this.#prng.chance(0.7)) {
      return this.#prng.pick(this.#marks.slice(-5))
    }
    const { uploadId } = this.#upload()
    return { after: place.key, version: this.#versionIdOf(place), upload: uploadId }
  }

  #newVersion(): NewVersion {
    const count = this.#prng.pick([0, 1, 1, 1, 2])
    const parts = Array.from({ length: count }, () => ({
      fileId: this.#newFile(),
      sizeBytes: this.#prng.below(1000),
    }))
    return {
      ...NO_ATTRIBUTES,
      id: this.#newId(),
      sizeBytes: parts.reduce((sum, part) => sum + part.sizeBytes, 0),
      etag: this.#prng.pick(ETAGS),
      storageClass: 'STANDARD',
      checksum: undefined,
      parts,
      ownerId: undefined,
      retention: this.#prng.chance(0.05) ? this.#retention() : undefined,
      isLegalHold: this.#prng.chance(0.02),
    }
  }

  #objectChange(place: model.Place): ObjectChange {
    switch (this.#prng.below(4)) {
      case 0:
        return { tags: [{ key: 'k', value: `${this.#prng.below(5)}` }] }
      case 1:
        return { retention: { value: this.#prng.chance(0.7) ? this.#retention() : undefined } }
      case 2:
        return { isLegalHold: this.#prng.chance(0.2) }
      default: {
        const parts = [{ fileId: this.#newFile(), sizeBytes: 7 }]
        const moved = { parts, storageClass: 'GLACIER_IR' } as const
        if (this.#prng.chance(0.5)) return { moved }
        // Of what is there now: others may be ahead of it.
        const version = this.#versionOf(place)
        const from = version?.parts.map(({ fileId }) => fileId) ?? []
        return from.length === 0 ? { moved } : { moved: { ...moved, from } }
      }
    }
  }

  #retention(): Retention {
    const untilMs = this.#world.clock.nowMs() + this.#prng.below(120_000)
    return { mode: this.#prng.pick(['GOVERNANCE', 'GOVERNANCE', 'COMPLIANCE'] as const), untilMs }
  }

  #condition(): WriteCondition | undefined {
    const etags = [this.#prng.chance(0.3) ? '*' : this.#prng.pick(ETAGS)]
    const choice = this.#prng.below(10)
    if (choice === 0) return { ifMatch: etags }
    return choice === 1 ? { ifNoneMatch: etags } : undefined
  }

  /** A bucket that is there, mostly, or was, or never was. */
  #place(): model.Place {
    const bucket = this.#prng.pick(BUCKETS)
    const id = this.#world.state.buckets.get(bucket)?.id ?? this.#prng.between(1, 3)
    const key = this.#prng.pick(this.#keys)
    return { bucket, id, key, nowMs: this.#world.clock.nowMs() }
  }

  #placeOf({ id, name }: BucketRef, key: string): model.Place {
    return { bucket: name, id, key, nowMs: this.#world.clock.nowMs() }
  }

  #versionOf(place: model.Place): ObjectVersion | undefined {
    const versions = model.bucketOf(this.#world.state, place)?.keys.get(place.key) ?? []
    return versions.length === 0 ? undefined : this.#prng.pick(versions)
  }

  #versionIdOf(place: model.Place): string {
    const version = this.#prng.chance(0.8) ? this.#versionOf(place) : undefined
    if (version !== undefined) return model.publicId(version)
    return this.#prng.pick(['null', this.#puts.at(-3)?.version.id ?? 'x', 'no id'])
  }

  /** One that is under way, mostly, or was. */
  #upload(): { readonly place: model.Place; readonly uploadId: string } {
    const place = this.#place()
    const uploads = [...(model.bucketOf(this.#world.state, place)?.uploads.values() ?? [])]
    const done = model.bucketOf(this.#world.state, place)?.keys.get(place.key)?.[0]?.id
    if (uploads.length === 0 || this.#prng.chance(0.1)) {
      return { place, uploadId: done ?? this.#newId() }
    }
    const { upload } = this.#prng.pick(uploads)
    return { place: { ...place, key: upload.key }, uploadId: upload.uploadId }
  }

  #newId(): string {
    return newVersionId(this.#prng, this.#world.clock.nowMs())
  }

  #newFile(): string {
    this.#fileCount++
    const needle = this.#fileCount.toString(16)
    return `7,${needle.length % 2 === 0 ? needle : `0${needle}`}00000000`
  }
}

type Part = Omit<UploadedPart, 'modifiedAtMs'>

function refOf({ bucket, id }: model.Place): BucketRef {
  return { name: bucket, id }
}

function uploadRefOf(place: model.Place, uploadId: string) {
  return { bucket: refOf(place), key: place.key, uploadId }
}

/** The marker that a batch makes. */
function markerIn(batch: MetadataBatch | undefined): ObjectVersion | undefined {
  const versions = (batch?.puts ?? [])
    .filter(({ key }) => key.startsWith('versions/'))
    .map(({ key, value }) => decodeObjectVersion(value, key))
  return versions.find(({ isMarker }) => isMarker)
}
