import { MessageChannel } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { ReadRequest } from '../../src/net/volume-api.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { readFully } from '../../src/runtime/disk.ts'
import { shardPath } from '../../src/storage/shard-paths.ts'
import { type PlaceOfShard, pathOfShard } from '../../src/volume/shard-sources.ts'
import { ThreadAccess } from '../../src/volume/thread-access.ts'
import { type CallHandler, ThreadPort } from '../../src/volume/thread-port.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { CodedNodes, dataOf, RUN } from './coded-nodes.ts'
import { collect, fid } from './local-node.ts'

/** A data thread beside a server with shards of volume 3. */
async function open() {
  const coded = await CodedNodes.open({ nodeCount: 2 })
  const node = coded.at(1)
  const { needles, store } = node.opened
  const { port1, port2 } = new MessageChannel()
  const calls: string[] = []
  const handlers: Record<string, CallHandler> = {
    share: () => {
      throw new StoreError('VOLUME_NOT_FOUND', 'there is no copy')
    },
    fetch: async ([request], signal) => {
      const content = await needles.fetch(request as ReadRequest, signal)
      const { metadata, checksum, dataBytes, data } = content
      return { metadata, checksum, dataBytes, data: owner.lend(data, content) }
    },
    pathOfShard: ([place]) => pathOfShard(store, place as PlaceOfShard),
  }
  for (const [name, handler] of Object.entries(handlers)) {
    handlers[name] = (args, signal) => {
      calls.push(name)
      return handler(args, signal)
    }
  }
  const owner = new ThreadPort(port1, handlers)
  const port = new ThreadPort(port2, {})
  const word = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  const access = new ThreadAccess({ disk: node.disk, clock: systemClock }, port, word)
  access.setVolumes({ volumeIds: [], codedIds: [vid(3)], volumesStamp: 0 })
  return {
    node,
    access,
    calls,
    async [Symbol.asyncDispose]() {
      owner[Symbol.dispose]()
      port[Symbol.dispose]()
      await access[Symbol.asyncDispose]()
      await coded[Symbol.asyncDispose]()
    },
  }
}

describe('coded volumes in a data thread', () => {
  test('are read through the owner: small needles whole, large ones in pieces', async () => {
    await using opened = await open()
    const { access, calls } = opened
    expect([access.isLocal(vid(3)), access.isLocal(vid(4))]).toEqual([true, false])
    const small = await access.read(fid(3, 4), false, false)
    if (!('data' in small)) throw new Error('it is small')
    expect(small.data.equals(dataOf(4))).toBe(true)
    expect(small.attributes()).toMatchObject({ name: 'file 4.txt', mime: 'text/plain' })
    using large = (await access.read(fid(3, 9), false, false)) as never as Disposable & {
      readonly dataBytes: number
      read(signal: AbortSignal): AsyncIterable<Uint8Array>
      readRange(range: object, signal: AbortSignal): AsyncIterable<Uint8Array>
    }
    expect(large.dataBytes).toBe(2_500_000)
    const range = { start: 1_000_000, end: 1_300_000 }
    const part = Buffer.concat(await collect(large.readRange(range, SIGNAL)))
    expect(part.equals(dataOf(9).subarray(range.start, range.end))).toBe(true)
    const whole = Buffer.concat(await collect(large.read(SIGNAL)))
    expect(whole.equals(dataOf(9))).toBe(true)
    const absent = access.read(fid(3, 10), false, false)
    await expect(absent).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    // Nobody looks for a copy that is not there.
    expect(new Set(calls)).toEqual(new Set(['fetch']))
  })

  test('give their shards from files of the thread', async () => {
    await using opened = await open()
    const { access, node } = opened
    const place = { volumeId: vid(3), runId: RUN, shard: 0 }
    await using file = await access.openShard(place)
    const [set] = node.opened.store.shardSets(vid(3))
    expect(file.path).toBe(set && shardPath(set.paths, 0))
    const absent = access.openShard({ ...place, shard: 1 })
    await expect(absent).rejects.toMatchObject({ code: 'SHARD_NOT_FOUND' })
    const whole = await readFully(file, await file.sizeBytes(), 0)
    const request = { ...place, offsetBytes: 7, lengthBytes: 10, sliceCount: 2, strideBytes: 50 }
    const slices = [7, 57].map((at) => whole.subarray(at, at + 10))
    expect((await access.readShard(request)).equals(Buffer.concat(slices))).toBe(true)
    const beyond = access.readShard({ ...request, offsetBytes: whole.length - 59 })
    await expect(beyond).rejects.toMatchObject({ code: 'RANGE_INVALID' })
  })
})
