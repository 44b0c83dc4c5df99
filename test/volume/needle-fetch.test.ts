import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/base/units.ts'
import { deriveTokenKeys, FileTokens } from '../../src/net/file-token.ts'
import { fetchNeedle } from '../../src/volume/needle-fetch.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { changedPeer, fid, LocalCluster, LocalNode } from './local-node.ts'

async function openPair() {
  const cluster = new LocalCluster()
  const source = await LocalNode.open(cluster, 1)
  const target = await LocalNode.open(cluster, 2)
  await source.allocate(3)
  await target.allocate(3)
  const { volume } = target.opened.store.get(vid(3))
  return { cluster, source, target, volume }
}

describe('fetchNeedle', () => {
  test('makes a token of its own where reads need one, and asks for no third copy', async () => {
    const { cluster, source, target, volume } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'one')
    const keys = deriveTokenKeys(Buffer.from('a secret of the cluster'))
    const readTokens = new FileTokens(cluster, keys)
    const honest = source.api
    const peer = changedPeer(honest, {
      async read(request, signal) {
        readTokens.verifyRead(request.readToken, request.fileId)
        expect(request.isForwarded).toBe(true)
        return await honest.read(request, signal)
      },
    })
    expect(await fetchNeedle(volume, fid(3, 1), { peer, readTokens }, SIGNAL)).toBe('stored')
    expect(await fetchNeedle(volume, fid(3, 1), { peer, readTokens }, SIGNAL)).toBe('unchanged')
    const untrusted = fetchNeedle(volume, fid(3, 1), { peer, readTokens: undefined }, SIGNAL)
    await expect(untrusted).rejects.toMatchObject({ code: 'TOKEN_INVALID' })
  })

  test.each([10, 9 * MIB])(
    'a peer that sends more than %d bytes is not believed',
    async (length) => {
      const { source, target, volume } = await openPair()
      await using _source = source
      await using _target = target
      await source.put(3, 1, 'x'.repeat(length))
      let sentCount = 0
      const honest = source.api
      const peer = changedPeer(honest, {
        async read(request, signal) {
          const content = await honest.read(request, signal)
          const forEver = async function* () {
            for (;;) {
              sentCount++
              yield* content.data
              yield Buffer.alloc(MIB)
            }
          }
          const dispose = () => content[Symbol.asyncDispose]()
          return { ...content, data: forEver(), [Symbol.asyncDispose]: dispose }
        },
      })
      const fetching = fetchNeedle(volume, fid(3, 1), { peer, readTokens: undefined }, SIGNAL)
      await expect(fetching).rejects.toMatchObject({ code: 'PEER_FAILED' })
      expect(sentCount).toBe(1)
      expect(volume.stats.liveNeedles).toBe(0)
    },
  )

  test('over a tombstone only when it is told to', async () => {
    const { source, target, volume } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'again')
    await target.put(3, 1, 'first')
    await target.delete(3, 1)
    const parts = { peer: source.api, readTokens: undefined }
    expect(await fetchNeedle(volume, fid(3, 1), parts, SIGNAL)).toBe('deleted')
    const over = { ...parts, isOverTombstones: true }
    expect(await fetchNeedle(volume, fid(3, 1), over, SIGNAL)).toBe('stored')
    expect(await target.read(3, 1)).toBe('again')
    expect(await fetchNeedle(volume, fid(3, 2), parts, SIGNAL)).toBe('unavailable')
    expect(await fetchNeedle(volume, fid(3, 1, 9), parts, SIGNAL)).toBe('unavailable')
  })
})
