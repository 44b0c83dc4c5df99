import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { formatReplicaPlacement } from '../../src/base/replica-placement.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { HealCluster } from '../support/heal-cluster.ts'
import { Prng } from '../support/prng.ts'

const NEVER = new AbortController().signal
const CODED = { collection: 'objects-coded', policy: 'ec:2+1' } as const
const SLOW = { delayMs: 3_600_000 }

/** Everything the object is to have is there, and what is read is right. */
async function expectWhole(cluster: HealCluster, fileId: string, data: Buffer): Promise<void> {
  const { client } = cluster
  const { rebuiltCount, shardCount } = await client.repairFile(fileId)
  expect([rebuiltCount, shardCount > 0]).toEqual([0, true])
  expect((await client.get(fileId)).data.equals(data)).toBe(true)
}

async function nothingIsDirty(cluster: HealCluster): Promise<boolean> {
  const { objects } = await cluster.namespace.listDirty({ after: '', limit: 1 }, NEVER)
  return objects.length === 0
}

/** Of all volumes with one copy in reach. */
async function readDat(directory: string, volumeId: number): Promise<string> {
  const names = await readdir(directory)
  const name = names.find((each) => new RegExp(`(^|_)${volumeId}\\.dat$`).test(each))
  if (name === undefined) throw new Error(`no volume ${volumeId} in ${directory}`)
  return join(directory, name)
}

describe('the healer', () => {
  test('undoes writes of a gateway that has gone, and no others', async () => {
    await using cluster = await HealCluster.open({ servers: 1, repair: { healEveryMs: 0 } })
    const { client, namespace } = cluster
    const { name } = await cluster.bucket('bee')
    const begin = async (session: string) => {
      await namespace.renewSession(session, NEVER)
      const { fileId } = await client.put('half of an object')
      const id = newVersionId(cryptoRandom, systemClock.nowMs())
      const intent = { id, session, bucket: name, key: session, fileIds: [fileId], isMore: false }
      await namespace.putIntent(intent, NEVER)
      return { id, fileId }
    }
    const gone = await begin('gone')
    const alive = await begin('alive')
    const keeping = setInterval(() => void namespace.renewSession('alive', NEVER), 500)
    try {
      await namespace.endSession('gone', NEVER)
      const ids = async () => {
        const { intents } = await namespace.listIntents({ after: '', limit: 10 }, NEVER)
        return intents.map(({ id }) => id)
      }
      await cluster.until('the write is undone', async () => !(await ids()).includes(gone.id))
      const isThere = (fileId: string) =>
        client.stat(fileId).then(
          () => true,
          () => false,
        )
      await cluster.until('its file is deleted', async () => !(await isThere(gone.fileId)))
      expect(await ids()).toEqual([alive.id])
      expect(await isThere(alive.fileId)).toBe(true)
      await cluster.until('it is counted', async () => {
        return cluster.master.api.gauges.heal.intentsUndone === 1
      })
      expect(await cluster.master.metrics.text()).toContain('heal_intents_undone 1')
    } finally {
      clearInterval(keeping)
    }
  })

  test('gives an object the shard that it was stored without', async () => {
    await using cluster = await HealCluster.open({ servers: 3, repair: SLOW })
    const bucket = await cluster.bucket('bee')
    const data = new Prng(1).bytes(10_000)
    const storage = { ...CODED, writePolicy: 'best-effort' } as const
    const whole = await cluster.write({ bucket, key: 'whole', data, storage })
    expect(await nothingIsDirty(cluster)).toBe(true)
    await cluster.stopServer(2)
    const version = await cluster.write({ bucket, key: 'less', data, storage })
    expect(await nothingIsDirty(cluster)).toBe(false)
    await cluster.addServer(3)
    await cluster.until('it is completed', () => nothingIsDirty(cluster))
    const now = await cluster.namespace.findObject({ bucket, key: 'less' }, NEVER)
    expect(now?.id).toBe(version.id)
    for (const { fileId } of now?.parts ?? []) await expectWhole(cluster, fileId, data)
    expect(whole.parts).toHaveLength(1)
  })

  test('stores what has too few copies anew, with as many as others have', async () => {
    await using cluster = await HealCluster.open({ servers: 3 })
    const { client, namespace } = cluster
    const bucket = await cluster.bucket('bee')
    const inCopies = (replication: string) => ({ collection: 'documents', replication })
    const data = Buffer.from('{"like_count":1}')
    await cluster.write({ bucket, key: 'other', data, storage: inCopies('002') })
    const few = await cluster.write({ bucket, key: 'few', data, storage: inCopies('001') })
    const { history: _, isMarker: _m, isNull: _n, modifiedAtMs: _a, seq: _s, ...version } = few
    const again = { ...version, id: newVersionId(cryptoRandom, systemClock.nowMs()) }
    const { fileId } = await client.put(data, inCopies('001'))
    const parts = [{ fileId, sizeBytes: data.length }]
    await namespace.putObject(
      { bucket, key: 'few', version: { ...again, parts }, isDirty: true },
      NEVER,
    )
    await cluster.until('it is completed', () => nothingIsDirty(cluster))
    const now = await namespace.findObject({ bucket, key: 'few' }, NEVER)
    const [part] = now?.parts ?? []
    expect([now?.id, part?.fileId === fileId]).toEqual([again.id, false])
    const { volumeId } = parseFileId(part?.fileId ?? '')
    const facts = await cluster.jobs.volumeFacts(volumeId, NEVER)
    expect(formatReplicaPlacement(facts.replication)).toBe('002')
    expect((await client.get(part?.fileId ?? '')).data.equals(data)).toBe(true)
  })

  test('makes lost shards anew, gives the volumes up, and health is green again', async () => {
    await using cluster = await HealCluster.open({ servers: 4 })
    const bucket = await cluster.bucket('bee')
    const prng = new Prng(2)
    const written = []
    for (let index = 0; index < 20; index++) {
      const data = prng.bytes(2000 + index)
      const version = await cluster.write({ bucket, key: `k${index}`, data, storage: CODED })
      written.push({ data, fileId: version.parts[0]?.fileId ?? '' })
    }
    await cluster.until('all is well', async () => (await cluster.color()) === 'green')
    await cluster.stopServer(3)
    await cluster.until('it is noticed', async () => (await cluster.color()) === 'yellow')
    const seen = new Set<string>()
    await cluster.until('all is well again', async () => {
      const color = await cluster.color()
      seen.add(color)
      return color === 'green'
    })
    // Every object could be read all the time.
    expect([...seen].sort()).toEqual(['green', 'yellow'])
    for (const { data, fileId } of written) await expectWhole(cluster, fileId, data)
    const { heal } = cluster.master.api.gauges
    expect(heal.volumesForgotten).toBeGreaterThan(0)
    expect(heal.shardsMade).toBeGreaterThan(0)
    await cluster.addServer(3)
    await cluster.until('what it had is cleared away', async () => {
      return (await cluster.color()) === 'green'
    })
    for (const { data, fileId } of written) await expectWhole(cluster, fileId, data)
  })

  test('finds shards that are not what was stored, and makes them anew', async () => {
    await using cluster = await HealCluster.open({ servers: 4, hasWorker: true, repair: SLOW })
    const bucket = await cluster.bucket('bee')
    const data = new Prng(3).bytes(200_000)
    const version = await cluster.write({ bucket, key: 'k', data, storage: CODED })
    const fileId = version.parts[0]?.fileId ?? ''
    const shards = await cluster.client.shardsOf(fileId)
    const [shard = ''] = shards?.fileIds ?? []
    const { volumeId } = parseFileId(shard)
    const { members } = await cluster.jobs.volumeFacts(volumeId, NEVER)
    const index = cluster.servers.findIndex(
      (server) => server?.location.url === members[0]?.location.url,
    )
    const path = await readDat(cluster.directories[index] ?? '', volumeId)
    // Of the first data shard: what it has stands there as it is.
    const bytes = await readFile(path)
    const at = bytes.indexOf(data.subarray(1000, 1032))
    expect(at).toBeGreaterThan(0)
    await using handle = await open(path, 'r+')
    await handle.write(Buffer.alloc(32, 7), 0, 32, at)
    const { api } = cluster.master
    await cluster.until('it is found', async () => api.gauges.heal.corruptFound > 0)
    const now = await cluster.client.shardsOf(fileId)
    expect(now?.fileIds).not.toContain(shard)
    await expectWhole(cluster, fileId, data)
  })
})
