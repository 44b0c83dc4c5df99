import { createHash } from 'node:crypto'
import { expect } from 'vitest'
import type { RawAnswer, RawRequest } from '../../../support/test-s3.ts'
import { type BucketScene, md5Hex, textOf } from './s3-scene.ts'

/** Every part but the last has at least so many. */
export const PART_BYTES_MIN = 5 * 1024 * 1024

type Headers = Readonly<Record<string, string>>

/** A part as a completion names it. */
export interface NamedPart {
  readonly partNumber: number | string
  readonly etag: string
  /** Elements beside, such as `ChecksumCRC32`. */
  readonly more?: Readonly<Record<string, string>>
}

/** Of the least size a part may have; two of different `seed` are different. */
export function bigPart(seed: number): Buffer {
  return Buffer.alloc(PART_BYTES_MIN, `part ${seed} `)
}

/** A request to an object, with a query such as `?versionId=null`. */
export function ask(
  scene: BucketScene,
  method: string,
  key: string,
  query: string,
  more: Partial<RawRequest> = {},
): Promise<RawAnswer> {
  return scene.request(method, key, { path: scene.path(key, query), ...more })
}

export function completionOf(parts: readonly NamedPart[]): string {
  const written = parts.map(({ etag, more = {}, partNumber }) => {
    const sums = Object.entries(more).map(([name, value]) => `<${name}>${value}</${name}>`)
    const tag = `<ETag>${etag}</ETag>`
    return `<Part><PartNumber>${partNumber}</PartNumber>${tag}${sums.join('')}</Part>`
  })
  return `<CompleteMultipartUpload>${written.join('')}</CompleteMultipartUpload>`
}

/** With quotes. */
export function etagOfParts(bodies: readonly (string | Uint8Array)[]): string {
  const md5s = bodies.map((body) => createHash('md5').update(body).digest())
  return `"${md5Hex(Buffer.concat(md5s))}-${bodies.length}"`
}

/** A multipart upload that was begun. */
export class UploadScene {
  readonly scene: BucketScene
  readonly key: string
  readonly id: string

  private constructor(scene: BucketScene, key: string, id: string) {
    this.scene = scene
    this.key = key
    this.id = id
  }

  static async begin(scene: BucketScene, key: string, headers: Headers = {}): Promise<UploadScene> {
    const answer = await ask(scene, 'POST', key, '?uploads', { headers })
    expect(answer).toMatchObject({ status: 200 })
    return new UploadScene(scene, key, textOf(answer.text, 'UploadId') ?? '')
  }

  part(
    partNumber: number | string,
    body: string | Uint8Array,
    more: Partial<RawRequest> = {},
  ): Promise<RawAnswer> {
    const query = `?partNumber=${partNumber}&uploadId=${this.id}`
    return ask(this.scene, 'PUT', this.key, query, { body, ...more })
  }

  /** Expects 200. */
  async put(
    partNumber: number,
    body: string | Uint8Array,
    headers: Headers = {},
  ): Promise<NamedPart> {
    const answer = await this.part(partNumber, body, { headers })
    expect([answer.status, answer.code]).toEqual([200, undefined])
    return { partNumber, etag: answer.headers['etag'] ?? '' }
  }

  complete(
    parts: readonly NamedPart[] | string,
    headers: Headers = {},
    more: Partial<RawRequest> = {},
  ): Promise<RawAnswer> {
    const body = typeof parts === 'string' ? parts : completionOf(parts)
    return ask(this.scene, 'POST', this.key, `?uploadId=${this.id}`, { body, headers, ...more })
  }

  abort(more: Partial<RawRequest> = {}): Promise<RawAnswer> {
    return ask(this.scene, 'DELETE', this.key, `?uploadId=${this.id}`, more)
  }

  /** `query` with its first `&`. */
  list(query = '', more: Partial<RawRequest> = {}): Promise<RawAnswer> {
    return ask(this.scene, 'GET', this.key, `?uploadId=${this.id}${query}`, more)
  }
}
