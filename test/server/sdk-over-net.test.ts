import { describe, expect, test } from 'vitest'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { startServer } from '../../src/server/start-server.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { gather } from '../support/test-volume.ts'

const KIB = 2 ** 10
const MIB = 2 ** 20
/** Around each border: what is sent by stream or by HTTP, read at once or in pieces, in chunks. */
const SIZES = [0, 1, 511, 4096, 64, 256, 1024, 8192, 20_480].flatMap((size, index) => {
  if (index < 4) return [size]
  return [size * KIB - 1, size * KIB, size * KIB + 1]
})

describe('the client over the net', () => {
  test(`${SIZES.length} sizes from 0 to 20 MiB come back whole, in parts, and by name`, async () => {
    await using temp = await openTempDirectory()
    const ports = { port: 0, volumePort: 0 }
    await using server = await startServer({ dir: temp.path, ...ports, durability: 'none' })
    const [host = ''] = server.masterUrl.replace('http://', '').split(':')
    const httpPort = server.masterUrl.split(':').at(-1)
    const grpcPort = server.masterGrpcAddress.split(':').at(-1)
    const masters = `${host}:${httpPort}.${grpcPort}`
    await using client = await HayloftClient.connect({ masters })
    const prng = new Prng(5)
    for (const size of SIZES) {
      const body = prng.bytes(size)
      const { fileId, sizeBytes } = await client.put(body, { name: `of ${size}` })
      expect([size, sizeBytes]).toEqual([size, size])
      expect((await client.stat(fileId)).sizeBytes).toBe(size)
      const whole = await client.get(fileId)
      expect(whole.data.equals(body), `${size} bytes`).toBe(true)
      expect((await gather(client.getStream(fileId))).equals(body), `${size} bytes`).toBe(true)
      if (size > 0) {
        const start = prng.below(size)
        const end = start + 1 + prng.below(Math.min(size - start, 3 * MIB))
        const part = await client.get(fileId, { range: { start, end } })
        expect(part.data.equals(body.subarray(start, end)), `${start}-${end} of ${size}`).toBe(true)
      }
      await client.putNamed(`sizes/${size}`, body)
      expect((await client.getNamed(`sizes/${size}`)).data.equals(body)).toBe(true)
      await client.delete(fileId)
      await expect(client.get(fileId)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    }
    const names: string[] = []
    for await (const { name } of client.listNamed('sizes/')) names.push(name)
    expect(names).toHaveLength(SIZES.length)
  })
})
