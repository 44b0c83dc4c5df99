import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { form, ObjectsDoor } from './objects-door.ts'

const KEYS = ['a', 'b/1', 'b/2', 'b/3', 'c%d', 'é', '日本']

let door: ObjectsDoor

beforeAll(async () => {
  door = await ObjectsDoor.open()
})

afterAll(async () => {
  await door[Symbol.asyncDispose]()
})

describe('GET /objects', () => {
  test('lists nothing before anything was stored', async () => {
    const answer = await door.ask('GET', '/objects')
    expect([answer.status, answer.json]).toEqual([200, { objects: [], count: 0 }])
  })

  describe('of a few keys', () => {
    beforeAll(async () => {
      for (const key of KEYS) await door.upload(encodeURIComponent(key), key)
    })

    test.each([
      ['', KEYS, undefined],
      ['?prefix=b/', ['b/1', 'b/2', 'b/3'], undefined],
      ['?prefix=b%2F2', ['b/2'], undefined],
      ['?prefix=nothing', [], undefined],
      ['?prefix=', KEYS, undefined],
      ['?after=b/2', ['b/3', 'c%d', 'é', '日本'], undefined],
      ['?after=b/25', ['b/3', 'c%d', 'é', '日本'], undefined],
      ['?prefix=b/&limit=2', ['b/1', 'b/2'], 'b/2'],
      ['?prefix=b/&limit=2&after=b/2', ['b/3'], undefined],
      ['?prefix=b/&limit=3', ['b/1', 'b/2', 'b/3'], undefined],
      ['?limit=1&after=%C3%A9', ['日本'], undefined],
      ['?limit=10000', KEYS, undefined],
      ['?unknown=1', KEYS, undefined],
    ])('with %o gives %j', async (query, objects, next) => {
      const answer = await door.ask('GET', `/objects${query}`)
      const page = { objects, count: objects.length, ...(next !== undefined && { next }) }
      expect([answer.status, answer.json]).toEqual([200, page])
    })

    test.each([
      'limit=0',
      'limit=-1',
      'limit=10001',
      'limit=x',
      'limit=1.5',
      'limit=',
      'limit=1&limit=2',
    ])('refuses %s', async (query) => {
      const answer = await door.ask('GET', `/objects?${query}`)
      expect([answer.status, answer.json]).toMatchObject([422, { code: 'REQUEST_INVALID' }])
    })

    test.each([`prefix=${'%C3%A9'.repeat(600)}`, 'after=%00', `prefix=${'x'.repeat(1025)}`])(
      'refuses what no key begins with (%#)',
      async (query) => {
        const answer = await door.ask('GET', `/objects?${query}`)
        expect(answer.status).toBeGreaterThanOrEqual(400)
        expect(answer.status).toBeLessThan(500)
      },
    )
  })

  test('gives more keys than are held at a time, and none twice', async () => {
    const count = 2345
    const bucket = await door.parts.buckets.get('objects', new AbortController().signal)
    for (let index = 0; index < count; index++) {
      await door.names.put(bucket, `many/${String(index).padStart(5, '0')}`)
    }
    const all = await pageOf('prefix=many/')
    expect([all.count, all.objects.length, all.next]).toEqual([count, count, undefined])
    expect([...new Set(all.objects)].sort()).toEqual(all.objects)
    const most = await pageOf('prefix=many/&limit=2000')
    expect([most.count, most.next]).toEqual([2000, most.objects.at(-1)])
    const rest = await pageOf(`prefix=many/&limit=2000&after=${most.next}`)
    expect([rest.count, rest.next]).toEqual([345, undefined])
    expect([...most.objects, ...rest.objects]).toEqual(all.objects)
  })

  test('a list that fails on its way is cut off, not shortened', async () => {
    const { namespace } = door.parts
    const listObjects = namespace.listObjects.bind(namespace)
    let count = 0
    namespace.listObjects = async (request, signal) => {
      if (++count === 2) throw new Error('the second page is gone')
      return await listObjects(request, signal)
    }
    try {
      await expect(door.ask('GET', '/objects?prefix=many/')).rejects.toThrow()
    } finally {
      namespace.listObjects = listObjects
    }
    expect((await door.ask('POST', '/objects/still', form([{ data: 'x' }]))).status).toBe(200)
  })
})

interface Page {
  readonly objects: readonly string[]
  readonly count: number
  readonly next?: string
}

async function pageOf(query: string): Promise<Page> {
  const answer = await door.ask('GET', `/objects?${query}`)
  expect(answer.status).toBe(200)
  return answer.json as Page
}
