import { describe, expect, test } from 'vitest'
import { cookie, needleId, volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { GrpcServer } from '../../src/net/grpc-server.ts'
import { RemoteVolume } from '../../src/net/remote-volume.ts'
import { volumeService } from '../../src/net/serve-volume.ts'
import type { PutRequest } from '../../src/net/volume-api.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { FakeVolume } from '../support/fake-volume-api.ts'
import { Prng } from '../support/prng.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

function putOf(id: number, data = Buffer.from(`data of ${id}`)): PutRequest {
  const fileId = { volumeId: volumeId(7), needleId: needleId(0, id), cookie: cookie(id) }
  return { fileId, data, metadata: {}, writeToken: '', isReplica: false }
}

async function open(api = new FakeVolume(), port = 0) {
  const server = await GrpcServer.open(
    { logger: silentLogger, clock: systemClock },
    { host: '127.0.0.1', port, services: [volumeService(api)] },
  )
  const remote = connect(server.address.port)
  return {
    api,
    server,
    remote,
    async [Symbol.asyncDispose]() {
      await remote.close(0)
      await server.close(0)
    },
  }
}

function connect(port: number): RemoteVolume {
  const grpcAddress = `127.0.0.1:${port}`
  return new RemoteVolume(
    { clock: systemClock, random: cryptoRandom },
    { location: { url: '127.0.0.1:1', grpcAddress }, timeoutMs: 20_000 },
  )
}

describe('the write stream', () => {
  test('carries 10,000 operations at once, answered in no order', async () => {
    await using fixture = await open()
    const { api, remote } = fixture
    const prng = new Prng(7)
    const held: (() => void)[] = []
    api.beforeWrite = () => new Promise((resolve) => held.push(resolve))
    const answers = Array.from({ length: 10_000 }, (_, id) => remote.put(putOf(id), SIGNAL))
    while (held.length < 10_000) await settle(5)
    expect(remote.queuedCount).toBe(10_000)
    while (held.length > 0) {
      const [release] = held.splice(prng.below(held.length), 1)
      release?.()
      if (prng.chance(0.01)) await settle(1)
    }
    const all = await Promise.all(answers)
    for (const [id, { dataBytes }] of all.entries()) {
      expect(dataBytes).toBe(`data of ${id}`.length)
      expect(api.needles.get(`7,${id.toString(16)}`.slice(0, 2))).toBeUndefined()
    }
    expect(api.needles.size).toBe(10_000)
    expect(remote.queuedCount).toBe(0)
  })

  test('tells each operation its own error, and does the others', async () => {
    await using fixture = await open()
    const { api, remote } = fixture
    api.beforeWrite = async ({ fileId }) => {
      if (fileId.needleId.lo % 3 === 0) throw new StoreError('VOLUME_SEALED', 'sealed now')
      if (fileId.needleId.lo % 3 === 1) throw new Error('a secret of the server')
    }
    const outcomes = await Promise.allSettled(
      Array.from({ length: 9 }, (_, id) => remote.put(putOf(id), SIGNAL)),
    )
    expect(outcomes.map(({ status }) => status)).toEqual(
      Array.from({ length: 9 }, (_, id) => (id % 3 === 2 ? 'fulfilled' : 'rejected')),
    )
    const texts = outcomes.map((outcome) =>
      outcome.status === 'rejected' ? `${outcome.reason.code} ${outcome.reason.message}` : '',
    )
    expect(texts.slice(0, 3)).toEqual([
      'VOLUME_SEALED sealed now',
      'PEER_FAILED internal error',
      '',
    ])
  })

  test('fails what is unanswered when the server dies, and works again when it is back', async () => {
    await using fixture = await open()
    const { api, server, remote } = fixture
    await remote.put(putOf(1), SIGNAL)
    api.beforeWrite = () => new Promise(() => {})
    const lost = Promise.allSettled([remote.put(putOf(2), SIGNAL), remote.delete(putOf(1), SIGNAL)])
    await settle(50)
    server.destroy()
    for (const outcome of await lost) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'UNAVAILABLE' } })
    }
    await using again = await open(new FakeVolume(), server.address.port)
    for (let attempt = 0; ; attempt++) {
      try {
        await remote.put(putOf(3), SIGNAL)
        break
      } catch (error) {
        if (attempt > 100) throw error
        await systemClock.sleep(50, SIGNAL)
      }
    }
    expect(again.api.needles.size).toBe(1)
  })

  test('answers everything it accepted before it closes', async () => {
    await using fixture = await open()
    const { api, server, remote } = fixture
    const held: (() => void)[] = []
    api.beforeWrite = () => new Promise((resolve) => held.push(resolve))
    const answers = Array.from({ length: 100 }, (_, id) => remote.put(putOf(id), SIGNAL))
    while (held.length < 100) await settle(5)
    const closing = server.close(10_000)
    await settle(20)
    for (const release of held) release()
    expect((await Promise.all(answers)).length).toBe(100)
    await closing
    await expectCode(remote.put(putOf(1), SIGNAL), 'UNAVAILABLE')
  })

  test('finishes what it accepted from a client that goes away', async () => {
    await using fixture = await open()
    const { api, server, remote } = fixture
    const held: (() => void)[] = []
    api.beforeWrite = () => new Promise((resolve) => held.push(resolve))
    const outcome = Promise.allSettled([remote.put(putOf(1), SIGNAL)])
    while (held.length < 1) await settle(5)
    await remote.close(0)
    expect(await outcome).toMatchObject([{ status: 'rejected', reason: { code: 'CLOSED' } }])
    while (server.inFlightCount === 1 && api.needles.size === 0) {
      for (const release of held) release()
      await settle(5)
    }
    expect(api.needles.size).toBe(1)
  })
})
