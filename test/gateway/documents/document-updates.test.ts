import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import { copyCount } from '../../../src/base/replica-placement.ts'
import { StoreError } from '../../../src/base/store-error.ts'
import { DOCUMENT_PHASES } from '../../../src/gateway/documents/document-files.ts'
import { DOCUMENTS } from '../../../src/gateway/documents/documents-config.ts'
import { readVersionPairs } from '../../../src/namespace/needle-pairs.ts'
import type { AssignRequest } from '../../../src/net/master-api.ts'
import { Prng } from '../../support/prng.ts'
import { failsWith, never } from '../../support/test-namespace.ts'
import type { Answer } from '../objects/objects-door.ts'
import { countPuts, DocumentsDoor } from './documents-door.ts'

const SEED = Number(process.env['SEED'] ?? 1)
const ARTICLE = { like_count: 1, view_count: 2, title: 'On hay', content: 'x'.repeat(2000) }
const HYBRID = { strategy: 'field_hybrid' }

let door: DocumentsDoor

beforeEach(async () => {
  door = await DocumentsDoor.open()
})

afterEach(async () => {
  await door[Symbol.asyncDispose]()
})

function detailOf(answer: Answer): string {
  return (answer.json as { detail: string }).detail
}

describe('an update of hot fields alone', () => {
  test('writes one needle in copies, and no shard', async () => {
    await door.write('k', ARTICLE, HYBRID)
    const before = await door.version('k')
    const puts = countPuts(door)
    const { json } = await door.write('k', { ...ARTICLE, like_count: 5 }, HYBRID)
    expect(json).toMatchObject({
      operation_type: 'Pure Hot Update',
      is_pure_hot_update: true,
      hot_nodes_written: 3,
      cold_chunks_written: 0,
      partial: false,
    })
    expect(puts).toEqual({ coded: 0, copied: 1 })
    const after = await door.version('k')
    expect(after?.parts[1]).toEqual(before?.parts[1])
    expect(await door.names.store.dropped()).toEqual([before?.parts[0]?.fileId])
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, like_count: 5 })
    expect(after?.history?.writeCount).toBe(2)
    const bytes = Buffer.from((await door.read('k')).text)
    expect(after?.etag).toBe(createHash('md5').update(bytes).digest('hex'))
    expect(after?.checksum?.value).toBe(createHash('sha256').update(bytes).digest('base64'))
  })

  test('is known by the value of the cold fields, not by how they are written', async () => {
    await door.write('k', '{"like_count":1,"a":{"x":1,"y":[2]},"b":"\\u0041"}', HYBRID)
    const same = '{ "b" : "A", "a":{"y":[ 2 ],"x":1}, "like_count":2}'
    expect((await door.write('k', same, HYBRID)).json).toMatchObject({ is_pure_hot_update: true })
    const other = '{"b":"A","a":{"y":[2.0],"x":1},"like_count":2}'
    expect((await door.write('k', other, HYBRID)).json).toMatchObject({ is_pure_hot_update: false })
    expect((await door.read('k')).json).toEqual({ like_count: 2, a: { x: 1, y: [2] }, b: 'A' })
  })

  test.each(['replication', 'ec'])(
    'needs the fields to lie apart: not after %s',
    async (strategy) => {
      await door.write('k', ARTICLE, { strategy })
      const { json } = await door.write('k', ARTICLE, HYBRID)
      expect(json).toMatchObject({ is_pure_hot_update: false, cold_chunks_written: 6 })
    },
  )

  test('is all there is of a document without cold fields', async () => {
    await door.write('k', { like_count: 1 }, HYBRID)
    const { json } = await door.write('k', { like_count: 2 }, HYBRID)
    expect(json).toMatchObject({ is_pure_hot_update: true, cold_chunks_written: 0 })
    expect((await door.read('k')).json).toEqual({ like_count: 2 })
  })

  test('tells in its needle of the file that it shares', async () => {
    await door.write('k', ARTICLE, HYBRID)
    await door.write('k', { ...ARTICLE, like_count: 5 }, HYBRID)
    const version = await door.version('k')
    const [hot, cold] = version?.parts ?? []
    const { pairs } = await door.parts.client.stat(hot?.fileId ?? '')
    const told = readVersionPairs(pairs)
    expect(told?.document).toEqual(version?.document)
    expect(told?.sizeBytes).toBe(version?.sizeBytes)
    expect(told?.parts).toEqual([null, [cold?.fileId, cold?.sizeBytes]])
    const { pairs: coldPairs } = await door.parts.client.stat(cold?.fileId ?? '')
    expect(readVersionPairs(coldPairs)).toBeUndefined()
  })

  test('is a full write where versions are kept', async () => {
    const bucket = await door.parts.buckets.get('documents', never)
    await door.names.setVersioning(bucket, 'enabled')
    await door.write('k', ARTICLE, HYBRID)
    const { json } = await door.write('k', { ...ARTICLE, like_count: 5 }, HYBRID)
    expect(json).toMatchObject({ is_pure_hot_update: false, cold_chunks_written: 6 })
    const update = await door.write('k', { like_count: 6 }, { ...HYBRID, hotOnly: true })
    expect(update.json).toMatchObject({ is_pure_hot_update: false, cold_chunks_written: 6 })
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, like_count: 6 })
    expect(await door.names.store.dropped()).toEqual([])
  })
})

describe('hot_only', () => {
  test.each(['true', 'True', '1'])('=%s takes a whole document', async (hotOnly) => {
    await door.write('k', ARTICLE, HYBRID)
    const puts = countPuts(door)
    const body = { ...ARTICLE, like_count: 2000, view_count: 60_000 }
    const { json, status } = await door.write('k', body, { ...HYBRID, hotOnly })
    expect(status).toBe(200)
    expect(json).toMatchObject({ is_pure_hot_update: true, cold_chunks_written: 0 })
    expect(puts).toEqual({ coded: 0, copied: 1 })
    expect((await door.read('k')).json).toEqual(body)
  })

  test('keeps hot fields that it does not name, and all cold ones', async () => {
    await door.write('k', ARTICLE, HYBRID)
    const body = { status_code: 7, like_count: 9, title: 'ignored', more: 1 }
    const { json } = await door.write('k', body, { hotOnly: true })
    expect(json).toMatchObject({
      strategy: 'field_hybrid',
      is_pure_hot_update: true,
      cold_fields_ignored: ['more', 'title'],
    })
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, status_code: 7, like_count: 9 })
  })

  test('has sums of its parts, since it does not read the cold one', async () => {
    await door.write('k', ARTICLE, HYBRID)
    await door.write('k', { like_count: 9 }, { hotOnly: true })
    const version = await door.version('k')
    const sums = await Promise.all(
      (version?.parts ?? []).map(async ({ fileId }) => {
        const { data } = await door.parts.client.get(fileId)
        return createHash('sha256').update(data).digest()
      }),
    )
    const value = createHash('sha256').update(Buffer.concat(sums)).digest('base64')
    expect(version?.checksum).toEqual({
      algorithm: 'SHA256',
      type: 'COMPOSITE',
      value: `${value}-2`,
    })
    expect(version?.etag).toMatch(/^[0-9a-f]{32}-2$/)
    expect((await door.read('k')).headers['etag']).toBe(`"${version?.etag}"`)
  })

  test('of a document without cold fields writes it anew', async () => {
    await door.write('k', { like_count: 1 }, HYBRID)
    const { json } = await door.write('k', { view_count: 2, x: 1 }, { hotOnly: true })
    expect(json).toMatchObject({ is_pure_hot_update: true, cold_fields_ignored: ['x'] })
    expect((await door.read('k')).json).toEqual({ like_count: 1, view_count: 2 })
  })

  test('adds the first hot field', async () => {
    await door.write('k', { a: 1 }, HYBRID)
    await door.write('k', { like_count: 2 }, { hotOnly: true })
    expect((await door.read('k')).text).toBe('{"like_count":2,"a":1}')
  })

  test('moves a field that was cold when it was stored', async () => {
    await door.write('k', { like_count: 1, score: 2, title: 'T' }, HYBRID)
    const at = await door.addGateway({ hotFields: ['like_count', 'score'] })
    const { json } = await door.write('k', { score: 3 }, { hotOnly: true, at })
    expect(json).toMatchObject({ is_pure_hot_update: false, cold_chunks_written: 6 })
    expect((await door.read('k')).text).toBe('{"like_count":1,"score":3,"title":"T"}')
    const again = await door.write('k', { score: 4 }, { hotOnly: true, at })
    expect(again.json).toMatchObject({ is_pure_hot_update: true, cold_chunks_written: 0 })
    expect((await door.read('k')).text).toBe('{"like_count":1,"score":4,"title":"T"}')
  })

  test('needs a document that is stored by its fields', async () => {
    expect((await door.write('k', ARTICLE, { hotOnly: true })).status).toBe(404)
    await door.write('k', ARTICLE, { strategy: 'ec' })
    const answer = await door.write('k', ARTICLE, { hotOnly: true })
    expect([answer.status, (answer.json as { code: string }).code]).toEqual([
      409,
      'REQUEST_INVALID',
    ])
    expect(detailOf(answer)).toContain('ec')
    expect((await door.read('k')).json).toEqual(ARTICLE)
  })

  test('of a document whose hot fields are lost says so', async () => {
    await door.write('k', ARTICLE, HYBRID)
    for (const server of door.cluster.servers.values()) server.needles.clear()
    const answer = await door.write('k', { like_count: 9 }, { hotOnly: true })
    expect([answer.status, (answer.json as { code: string }).code]).toEqual([
      500,
      'NEEDLE_NOT_FOUND',
    ])
    expect((await door.write('k', ARTICLE, HYBRID)).status).toBe(200)
  })

  test('needs a hot field', async () => {
    await door.write('k', ARTICLE, HYBRID)
    const answer = await door.write('k', { title: 'T' }, { hotOnly: true })
    expect(answer.status).toBe(422)
    expect((await door.read('k')).json).toEqual(ARTICLE)
  })
})

describe('several gateways', () => {
  test('whoever finds the document changed decides anew', async () => {
    const other = await door.addGateway()
    await door.write('k', ARTICLE, HYBRID)
    let isFirst = true
    door.onPhase = async (phase) => {
      if (phase !== 'hot-stored' || !isFirst) return
      isFirst = false
      await door.write('k', { ...ARTICLE, title: 'changed' }, { ...HYBRID, at: other })
    }
    const { json } = await door.write('k', { ...ARTICLE, like_count: 7 }, HYBRID)
    expect(json).toMatchObject({ is_pure_hot_update: false, cold_chunks_written: 6 })
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, like_count: 7 })
    await expectNothingElse('k')
  })

  test('a hot-only update keeps what another one wrote meanwhile', async () => {
    const other = await door.addGateway()
    await door.write('k', ARTICLE, HYBRID)
    let isFirst = true
    door.onPhase = async (phase) => {
      if (phase !== 'hot-stored' || !isFirst) return
      isFirst = false
      await door.write('k', { view_count: 100 }, { hotOnly: true, at: other })
    }
    const { json } = await door.write('k', { like_count: 7 }, { hotOnly: true })
    expect(json).toMatchObject({ is_pure_hot_update: true })
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, like_count: 7, view_count: 100 })
    await expectNothingElse('k')
  })

  test('a document that is changed all the time is written all the same, in full', async () => {
    const other = await door.addGateway()
    await door.write('k', ARTICLE, HYBRID)
    let changes = 0
    door.onPhase = async (phase) => {
      if (phase !== 'hot-stored') return
      changes++
      await door.write('k', { ...ARTICLE, view_count: changes }, { ...HYBRID, at: other })
    }
    const { json, status } = await door.write('k', { ...ARTICLE, like_count: 7 }, HYBRID)
    expect([status, json]).toMatchObject([200, { cold_chunks_written: 6 }])
    expect(changes).toBe(LIMITS.documentTriesMax.value / 2 + 1)
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, like_count: 7 })
  })

  test('a hot-only update gives up after so many changes by others', async () => {
    const other = await door.addGateway()
    await door.write('k', ARTICLE, HYBRID)
    let changes = 0
    door.onPhase = async (phase) => {
      if (phase !== 'hot-stored') return
      changes++
      await door.write('k', { view_count: changes }, { hotOnly: true, at: other })
    }
    const answer = await door.write('k', { like_count: 7 }, { hotOnly: true })
    expect(answer.status).toBe(429)
    expect(changes).toBe(LIMITS.documentTriesMax.value)
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, view_count: changes })
    await expectNothingElse('k')
  })

  // Goal: a reader sees one write, never parts of two, and hot-only updates are never lost.
  // Method: writers at two gateways, full and hot-only, each document with its generation in a hot
  // and a cold field; readers compare them. Replay: SEED=17 npx vitest run <this file>.
  test(`readers see old or new (seed ${SEED})`, async () => {
    const other = await door.addGateway()
    const prng = new Prng(SEED)
    const keys = ['a', 'b']
    let generation = 0
    const counts = new Map(keys.map((key) => [key, 0]))
    const documentOf = (key: string) => {
      generation++
      const text = `${generation}:`.repeat(1 + prng.below(400))
      return { like_count: generation, update_count: counts.get(key), generation, text }
    }
    for (const key of keys) await door.write(key, documentOf(key), HYBRID)
    let isWriting = true
    let readCount = 0
    const writer = async (key: string, at: number): Promise<void> => {
      for (let turn = 0; turn < 25; turn++) {
        const strategy = ['field_hybrid', 'replication', 'ec', 'field_hybrid'][prng.below(4)] ?? ''
        const answer = await door.write(key, documentOf(key), { strategy, at })
        expect(answer.status).toBe(200)
      }
    }
    const reader = async (key: string, at: number): Promise<void> => {
      while (isWriting) {
        const { json, status } = await door.read(key, at)
        expect(status).toBe(200)
        const { generation: cold, like_count: hot, text } = json as Record<string, unknown>
        expect(hot).toBe(cold)
        expect(String(text).startsWith(`${cold}:`)).toBe(true)
        readCount++
      }
    }
    const places = [0, other]
    const readers = keys.flatMap((key) => places.map((at) => reader(key, at)))
    const writers = keys.flatMap((key) => places.map((at) => writer(key, at)))
    await Promise.all(writers).finally(() => {
      isWriting = false
    })
    await Promise.all(readers)
    expect(readCount).toBeGreaterThan(10)
    await expectNothingElse(...keys)
  })

  test('hot-only updates by two gateways at once are all kept', async () => {
    const other = await door.addGateway()
    await door.write('k', { ...ARTICLE, like_count: 0, view_count: 0 }, HYBRID)
    const count = async (field: string, at: number): Promise<void> => {
      for (let value = 1; value <= 15; value++) {
        for (;;) {
          const answer = await door.write('k', { [field]: value }, { hotOnly: true, at })
          if (answer.status === 200) break
          expect(answer.status).toBe(429)
        }
      }
    }
    await Promise.all([count('like_count', 0), count('view_count', other)])
    expect((await door.read('k')).json).toEqual({ ...ARTICLE, like_count: 15, view_count: 15 })
    await expectNothingElse('k')
  })
})

describe('a gateway that dies', () => {
  test.each(['replication', 'ec', 'field_hybrid', 'hot'])('leaves %s whole', async (kind) => {
    const strategy = kind === 'hot' ? 'field_hybrid' : kind
    const next = { ...ARTICLE, like_count: 9, ...(kind !== 'hot' && { title: 'next' }) }
    const seen: string[] = []
    for (const phase of DOCUMENT_PHASES) {
      const key = `k-${phase}`
      await door.write(key, ARTICLE, { strategy })
      const old = await door.version(key)
      const reached = await dieAt(phase, () => door.write(key, next, { strategy }))
      if (!reached) continue
      seen.push(phase)
      const isNamed = phase === 'named'
      expect((await door.read(key)).json).toEqual(isNamed ? next : ARTICLE)
      const version = await door.version(key)
      expect(version?.id === old?.id).toBe(!isNamed)
    }
    const all = {
      replication: ['planned', 'hot-stored', 'named'],
      ec: ['planned', 'cold-stored', 'named'],
      field_hybrid: [...DOCUMENT_PHASES],
      hot: ['planned', 'hot-stored', 'named'],
    }
    expect(seen).toEqual(all[kind as keyof typeof all])
  })

  test('has named all needles that it stored, before it sent them', async () => {
    for (const phase of ['planned', 'cold-stored', 'hot-planned', 'hot-stored'] as const) {
      const before = new Set(door.cluster.liveNeedles().keys())
      await dieAt(phase, () => door.write(`k-${phase}`, ARTICLE, HYBRID))
      const sent = [...door.cluster.liveNeedles().keys()].filter((id) => !before.has(id))
      expect(sent.length > 0).toBe(phase !== 'planned')
      const page = await door.parts.namespace.listIntents({ after: '', limit: 100 }, never)
      const intent = page.intents.find(({ key }) => key === `k-${phase}`)
      expect(intent?.fileCount).toBeGreaterThanOrEqual(Math.max(1, sent.length))
    }
  })

  /** Whether the write came as far as that; from there on it does nothing more. */
  async function dieAt(phase: string, write: () => Promise<Answer>): Promise<boolean> {
    let isReached = false
    const died = new Promise<void>((resolve) => {
      door.onPhase = async (now) => {
        if (now !== phase) return
        isReached = true
        resolve()
        await new Promise(() => {})
      }
    })
    const writing = write().catch(() => undefined)
    await Promise.race([died, writing])
    door.onPhase = async () => {}
    return isReached
  }
})

describe('a write that fails', () => {
  test.each(['replication', 'ec', 'field_hybrid'])('with %s leaves nothing', async (strategy) => {
    await door.write('k', ARTICLE, { strategy })
    for (let failing = 0; failing < 8; failing++) {
      let count = 0
      door.cluster.fault = (operation) => {
        if (operation !== 'put') return undefined
        count++
        return count > failing ? { when: 'before', code: 'NEEDLE_INVALID' } : undefined
      }
      const answer = await door.finish(door.write('k', { ...ARTICLE, title: 'next' }, { strategy }))
      if (answer.status === 200) break
      door.cluster.fault = () => undefined
      expect((await door.read('k')).json).toEqual(ARTICLE)
      expect(await door.intents()).toBe(0)
    }
    door.cluster.fault = () => undefined
    await expectNothingElse('k')
  })

  test.each(['replication', 'ec', 'field_hybrid'])(
    'with %s when it is named, is undone if that surely did not happen',
    async (strategy) => {
      door.onPhase = async (phase) => {
        if (phase !== 'hot-stored' && phase !== 'cold-stored') return
        const refused = new StoreError('QUOTA_EXCEEDED', 'full')
        Object.assign(door.parts.namespace, { putObject: failsWith(refused) })
      }
      const answer = await door.write('k', ARTICLE, { strategy })
      expect(answer.status).toBe(403)
      expect(await door.leftNeedlesSoon()).toBe(0)
      expect(await door.intents()).toBe(0)
    },
  )

  test('and may have happened keeps its files for whoever finds out', async () => {
    const unknown = new StoreError('UNAVAILABLE', 'the answer was lost')
    Object.assign(door.parts.namespace, { putObject: failsWith(unknown) })
    const answer = await door.write('k', ARTICLE, HYBRID)
    expect(answer.status).toBe(503)
    expect(await door.intents()).toBe(1)
    expect(await door.leftNeedles()).toBe(8)
  })
})

describe('with too few servers', () => {
  test('best effort takes fewer copies, and says so', async () => {
    const at = await door.addGateway({ writePolicy: 'best-effort' })
    const urls = [...door.cluster.servers.keys()]
    door.cluster.setDown(urls.slice(0, 5))
    const work = door.write('k', ARTICLE, { at })
    const { json, status } = await door.finish(work)
    expect([status, json]).toMatchObject([200, { partial: true, nodes_written: [urls[5]] }])
    expect(await door.dirtyKeys()).toEqual(['k'])
    expect((await door.read('k')).json).toEqual(ARTICLE)
  })

  test.each(['ec', 'field_hybrid'])('best effort takes fewer shards of %s', async (strategy) => {
    const at = await door.addGateway({ writePolicy: 'best-effort' })
    door.cluster.setDown([...door.cluster.servers.keys()].slice(0, 2))
    const work = door.write('k', ARTICLE, { at, strategy })
    const { json, status } = await door.finish(work)
    const name = strategy === 'ec' ? 'chunks_written' : 'cold_chunks_written'
    expect([status, json]).toMatchObject([200, { partial: true, [name]: 4 }])
    expect(await door.dirtyKeys()).toEqual(['k'])
    expect((await door.read('k')).json).toEqual(ARTICLE)
  })

  test('best effort takes fewer copies too when the servers only seem to be there', async () => {
    const at = await door.addGateway({ writePolicy: 'best-effort' })
    refuseCopies(3)
    const work = door.write('k', ARTICLE, { ...HYBRID, at })
    const { json, status } = await door.finish(work)
    expect([status, json]).toMatchObject([
      200,
      { partial: true, hot_nodes_written: 2, cold_chunks_written: 6 },
    ])
    expect(await door.dirtyKeys()).toEqual(['k'])
    expect((await door.read('k')).json).toEqual(ARTICLE)
  })

  test.each(['replication', 'ec', 'field_hybrid'])('all of %s is refused', async (strategy) => {
    door.cluster.setDown([...door.cluster.servers.keys()].slice(0, 4))
    refuseCopies(3)
    const answer = await door.finish(door.write('k', ARTICLE, { strategy }))
    expect(answer.status).toBe(503)
    expect(await door.version('k')).toBeUndefined()
    expect(await door.intents()).toBe(0)
    expect(await door.dirtyKeys()).toEqual([])
  })
})

/** As a master does that finds no servers for so many, in the collection of copies. */
function refuseCopies(count: number): void {
  door.cluster.fault = (operation, _url, request) => {
    if (operation !== 'assign') return undefined
    const { collection, replication } = request as AssignRequest
    const isRefused =
      collection === DOCUMENTS && replication !== undefined && copyCount(replication) >= count
    return isRefused ? { when: 'before', code: 'NO_WRITABLE_VOLUME' } : undefined
  }
}

/** What is not to be deleted belongs to these documents. */
async function expectNothingElse(...keys: string[]): Promise<void> {
  const left = await door.leftNeedlesSoon()
  let named = 0
  for (const key of keys) {
    for (const { fileId } of (await door.version(key))?.parts ?? []) {
      const shards = await door.parts.client.shardsOf(fileId)
      named += 1 + (shards?.fileIds.length ?? 0)
    }
  }
  expect(left).toBe(named)
  expect(await door.intents()).toBe(0)
}
