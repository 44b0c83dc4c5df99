import { statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ClusterAuth, splitProof } from '../../src/net/cluster-auth.ts'
import {
  CLUSTER_SECRET_FILE,
  deriveKey,
  ensureClusterSecret,
  readClusterSecret,
} from '../../src/net/cluster-secret.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { expectCode } from '../support/test-volume.ts'

const SECRET = Buffer.alloc(32, 1)
const GROW = '/hayloft.v1.Master/Grow'

function open(secret = SECRET) {
  const clock = new SimClock()
  return { clock, auth: new ClusterAuth({ clock, random: cryptoRandom }, secret) }
}

describe('the proof of the cluster secret', () => {
  test('in a target is for exactly that target and method', () => {
    const { auth } = open()
    const signed = auth.signTarget('GET', '/vol/shard?volume=3')
    const { target, proof } = splitProof(signed)
    expect(target).toBe('/vol/shard?volume=3')
    auth.verifyHttp('GET', target, proof)
    for (const [method, other] of [
      ['PUT', target],
      ['GET', '/vol/shard?volume=4'],
    ] as const) {
      expectStoreError(() => auth.verifyHttp(method, other, proof), 'UNAUTHENTICATED')
    }
    expect(splitProof('/3,0123?a=b')).toEqual({ target: '/3,0123?a=b' })
    for (const rest of ['', '&proof=', '&proof=x', '&proof=v1.1.2.3']) {
      const found = splitProof(`/a?b=c${rest}`)
      expectStoreError(() => auth.verifyHttp('GET', found.target, found.proof), 'UNAUTHENTICATED')
    }
  })

  test('is accepted for the method it was made for', () => {
    const { auth } = open()
    auth.verifyGrpc(GROW, auth.signGrpc(GROW))
    auth.verifyHttp(
      'PUT',
      '/3,01637037d6?type=replicate',
      auth.signHttp('PUT', '/3,01637037d6?type=replicate'),
    )
  })

  test('is different each time', () => {
    const { auth } = open()
    expect(auth.signGrpc(GROW)).not.toBe(auth.signGrpc(GROW))
  })

  test.each([
    ['another method', (auth: ClusterAuth) => auth.signGrpc('/hayloft.v1.Master/GetStatus')],
    ['the longer name of a method', (auth: ClusterAuth) => auth.signGrpc(`${GROW}2`)],
    ['HTTP', (auth: ClusterAuth) => auth.signHttp('grpc', GROW)],
    ['no method', (auth: ClusterAuth) => auth.signGrpc('')],
    ['another secret', () => open(Buffer.alloc(32, 2)).auth.signGrpc(GROW)],
    ['nothing', () => undefined],
    ['an empty text', () => ''],
    ['garbage', () => `v1 1 0123456789abcdef ${'0'.repeat(64)}`],
    ['a longer proof', (auth: ClusterAuth) => `${auth.signGrpc(GROW)}00`],
    ['a shorter proof', (auth: ClusterAuth) => auth.signGrpc(GROW).slice(0, -2)],
  ])('for %s is refused', (_, make) => {
    const { auth } = open()
    expectStoreError(() => auth.verifyGrpc(GROW, make(auth)), 'UNAUTHENTICATED')
  })

  test('with any character changed is refused', () => {
    const { auth } = open()
    const proof = auth.signGrpc(GROW)
    for (let at = 0; at < proof.length; at++) {
      const other = proof[at] === '1' ? '2' : '1'
      const changed = proof.slice(0, at) + other + proof.slice(at + 1)
      expectStoreError(() => auth.verifyGrpc(GROW, changed), 'UNAUTHENTICATED')
    }
  })

  test.each([-300_001, -300_000, 0, 300_000, 300_001])('%i ms old', (ms) => {
    const { auth, clock } = open()
    const proof = auth.signGrpc(GROW)
    clock.jumpWallClock(ms)
    if (Math.abs(ms) <= 300_000) auth.verifyGrpc(GROW, proof)
    else expectStoreError(() => auth.verifyGrpc(GROW, proof), 'UNAUTHENTICATED')
  })

  test('for one target of HTTP is refused for every other', () => {
    const { auth } = open()
    const proof = auth.signHttp('PUT', '/3,01?ttl=1d')
    for (const [method, target] of [
      ['DELETE', '/3,01?ttl=1d'],
      ['PUT', '/3,01'],
      ['PUT', '/3,02?ttl=1d'],
    ] as const) {
      expectStoreError(() => auth.verifyHttp(method, target, proof), 'UNAUTHENTICATED')
    }
  })
})

describe('the cluster secret', () => {
  test('is made once, readable by its owner only, and found again', async () => {
    await using directory = await openTempDirectory()
    const disk = new NodeDisk()
    const made = await ensureClusterSecret(disk, cryptoRandom, directory.path)
    const path = join(directory.path, CLUSTER_SECRET_FILE)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(made).toHaveLength(32)
    expect(await ensureClusterSecret(disk, cryptoRandom, directory.path)).toEqual(made)
    expect(await readClusterSecret(disk, path)).toEqual(made)
  })

  test.each(seeds(100))('is whole or missing after a power cut (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const disk = new MemDisk(prng)
    await disk.createDirectory('/d')
    disk.cutPowerAfter(prng.below(8))
    let made: Buffer | undefined
    try {
      made = await ensureClusterSecret(disk, prng, '/d')
    } catch {
      // The power went.
    }
    disk.restart()
    const again = await ensureClusterSecret(disk, prng, '/d')
    if (made !== undefined) expect(again).toEqual(made)
    expect(disk.openFiles).toBe(0)
  })

  test.each(['', 'abc', 'g'.repeat(64), `${'a'.repeat(64)}b`, 'x'.repeat(5000)])(
    'in a file with other bytes is refused, and they are not shown: %s',
    async (content) => {
      const disk = new MemDisk(new Prng(1))
      disk.put('/d/cluster.secret', Buffer.from(content))
      const refused = readClusterSecret(disk, '/d/cluster.secret')
      await expectCode(refused, 'CONFIG_INVALID')
      if (content !== '') await expect(refused).rejects.not.toThrow(content)
    },
  )

  test('is taken with blanks and capitals around it', async () => {
    const disk = new MemDisk(new Prng(1))
    disk.put('/s', Buffer.from(`  ${'AB'.repeat(32)}\r\n`))
    expect(await readClusterSecret(disk, '/s')).toEqual(Buffer.alloc(32, 0xab))
  })

  test('that is missing is CONFIG_INVALID', async () => {
    const disk = new MemDisk(new Prng(1))
    await expectCode(readClusterSecret(disk, '/none'), 'CONFIG_INVALID')
  })

  test('gives a key of its own for each purpose', () => {
    const keys = ['a', 'b'].map((purpose) => deriveKey(SECRET, purpose).toString('hex'))
    expect(new Set([...keys, SECRET.toString('hex')]).size).toBe(3)
    expect(deriveKey(SECRET, 'a').toString('hex')).toBe(keys[0])
  })
})
