import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Prng } from '../../support/prng.ts'
import { TestS3 } from '../../support/test-s3.ts'

const OBJECTS = { policy: 'ec:2+1', spread: 'auto', maxFileBytes: 20_000_000 } as const
const DOCUMENTS = { documentBytesMax: 1_000_000 } as const

let s3: TestS3
let url: string

beforeAll(async () => {
  s3 = await TestS3.open({
    volumeServers: 3,
    dataCenters: ['us-east-1', 'us-west-1', 'eu-west-1'],
    doors: { rest: { host: '127.0.0.1', port: 0, objects: OBJECTS, documents: DOCUMENTS } },
  })
  url = s3.server.restUrl ?? ''
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

function formOf(data: Uint8Array): FormData {
  const form = new FormData()
  form.append('file', new Blob([data], { type: 'image/png' }), 'a.png')
  return form
}

describe('objects of a whole server', () => {
  const prng = new Prng(11)

  test.each([0, 1, 5000, 1_500_000, 9_000_000])(
    'of %d bytes are the same over S3',
    async (size) => {
      const data = prng.bytes(size)
      const path = `${url}/objects/rest/${size}`
      const stored = await fetch(path, { method: 'POST', body: formOf(data) })
      expect([stored.status, await stored.json()]).toMatchObject([200, { size }])
      const read = await fetch(path)
      expect(Buffer.from(await read.arrayBuffer()).equals(data)).toBe(true)
      const where = { Bucket: 'objects', Key: `rest/${size}` }
      const { Body, ContentType, ETag } = await s3.root.sdk.send(new GetObjectCommand(where))
      expect(Buffer.from((await Body?.transformToByteArray()) ?? []).equals(data)).toBe(true)
      expect([ContentType, ETag]).toEqual(['image/png', read.headers.get('etag')])
    },
  )

  test('that S3 stores are there for REST', async () => {
    const Body = prng.bytes(3000)
    const where = { Bucket: 'objects', Key: 's3/one', Body, ContentType: 'text/x-one' }
    await s3.root.sdk.send(new PutObjectCommand(where))
    const read = await fetch(`${url}/objects/s3/one`)
    expect(read.headers.get('content-type')).toBe('text/x-one')
    expect(Buffer.from(await read.arrayBuffer()).equals(Body)).toBe(true)
    const listed = (await (await fetch(`${url}/objects?prefix=s3/`)).json()) as object
    expect(listed).toEqual({ objects: ['s3/one'], count: 1 })
  })

  test('are counted, on servers by region', async () => {
    const stats = (await (await fetch(`${url}/cluster/stats`)).json()) as object
    const regions = { 'us-east-1': 1, 'us-west-1': 1, 'eu-west-1': 1 }
    expect(stats).toMatchObject({ total_nodes: 3, nodes_by_region: regions, total_objects: 6 })
    const health = (await (await fetch(`${url}/cluster/health`)).json()) as object
    expect(health).toMatchObject({ failed_nodes: [] })
  })

  test('of an unknown server cannot be recovered', async () => {
    const answer = await fetch(`${url}/cluster/recovery/nobody:1`, { method: 'POST' })
    expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'NODE_NOT_FOUND' }])
  })
})
