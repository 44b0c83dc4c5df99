import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import type { HayloftClient } from '../../../src/client/hayloft-client.ts'
import { readVersion } from '../../../src/gateway/stored-bytes.ts'
import type { StoredPart } from '../../../src/namespace/object-version.ts'
import { Prng } from '../../support/prng.ts'
import { TestS3 } from '../../support/test-s3.ts'

const NEVER = new AbortController().signal
const SLOTS = LIMITS.readAheadSlots.value
/** The first in chunks, the others each in one piece. */
const PART_BYTES = [LIMITS.chunkBytes.value * 2 + 1000, 70_000, 1, 2_000_000, 50_000, 3_000_000]

let s3: TestS3
let client: HayloftClient
let whole: Buffer
let parts: StoredPart[]

beforeAll(async () => {
  s3 = await TestS3.open()
  client = s3.server.client
  const prng = new Prng(3)
  const bodies = PART_BYTES.map((sizeBytes) => prng.bytes(sizeBytes))
  whole = Buffer.concat(bodies)
  parts = await Promise.all(
    bodies.map(async (body) => ({
      fileId: (await client.put(body)).fileId,
      sizeBytes: body.length,
    })),
  )
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

/** Takes what there is to take. */
function takeSlots(): Disposable[] {
  const taken: Disposable[] = []
  for (let slot = client.tryReadAhead(); slot !== undefined; slot = client.tryReadAhead()) {
    taken.push(slot)
  }
  return taken
}

function release(slots: readonly Disposable[]): void {
  for (const slot of slots) slot[Symbol.dispose]()
}

function freeSlots(): number {
  const taken = takeSlots()
  release(taken)
  return taken.length
}

async function read(start = 0, end = whole.length): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  const range = { start, end }
  for await (const piece of readVersion(client, { parts }, range, NEVER)) pieces.push(piece)
  return Buffer.concat(pieces)
}

describe('an object of six parts', () => {
  test.each([0, 1, 2, SLOTS])('is read with leave to read %d chunks ahead', async (free) => {
    const taken = takeSlots()
    expect(taken.length).toBe(SLOTS)
    release(taken.splice(0, free))
    expect((await read()).equals(whole)).toBe(true)
    expect((await read(100, whole.length - 100)).equals(whole.subarray(100, -100))).toBe(true)
    expect(freeSlots()).toBe(free)
    release(taken)
  })

  test.each([0, 1, 5, 40])(
    'gives its leave back when nobody wants more than %d pieces',
    async (count) => {
      const pieces = readVersion(client, { parts }, { start: 0, end: whole.length }, NEVER)
      for (let taken = 0; taken < count; taken++) await pieces.next()
      await pieces.return()
      expect(freeSlots()).toBe(SLOTS)
    },
  )

  test('gives its leave back when a part cannot be read', async () => {
    const [first, second, ...others] = parts
    if (first === undefined || second === undefined) throw new Error('there are six')
    const gone = { fileId: '99,01637037d6', sizeBytes: 10 }
    const broken = { parts: [first, second, gone, ...others] }
    const reading = (async () => {
      for await (const _piece of readVersion(client, broken, { start: 0, end: 1e8 }, NEVER));
    })()
    await expect(reading).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    expect(freeSlots()).toBe(SLOTS)
  })
})
