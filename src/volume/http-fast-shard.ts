import { volumeId } from '../base/ids.ts'
import type { FastConnection } from '../net/fast-http.ts'
import type { ReadShardSlicesRequest } from '../net/shard-api.ts'
import type { Tally } from '../runtime/metrics.ts'
import type { VolumeHttpParts } from './http-context.ts'

export interface FastShardParts
  extends Required<Pick<VolumeHttpParts, 'verifyReplica' | 'readShard'>> {
  readonly count: Tally
  readonly fail: (path: string, error: unknown, connection: FastConnection) => void
}

/** As servers of the cluster ask, with nothing that would have to be judged. */
const PLAIN = new RegExp(
  '^/vol/shard\\?volume=([1-9]\\d{0,8})&run=(\\d{1,20})&shard=(\\d{1,2})&offset=(\\d{1,15})' +
    '&bytes=(\\d{1,7})&slices=(\\d{1,3})&stride=(\\d{1,9})&proof=[v0-9a-f.]+$',
)

/**
 * Slices of a shard for another server, asked for in the plainest way: a lost needle takes such a
 * request to each of k servers. Whatever is special, and whoever cannot show the secret, is left to
 * `VolumeData`, so the two must give the same answer where both could.
 */
export class FastShards {
  readonly #parts: FastShardParts

  constructor(parts: FastShardParts) {
    this.#parts = parts
  }

  /** Without a request object. False: nothing was done. */
  tryAnswer(path: string, connection: FastConnection): boolean {
    const request = parsePlain(path)
    if (request === undefined) return false
    if (!this.#parts.verifyReplica({ method: 'GET', url: path, headers: {} })) return false
    connection.later()
    void this.#answer(path, request, connection)
    return true
  }

  async #answer(
    path: string,
    request: ReadShardSlicesRequest,
    connection: FastConnection,
  ): Promise<void> {
    const { readShard, count, fail } = this.#parts
    try {
      const data = await readShard(request)
      const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n'
      connection.finishBytes(`${head}Content-Length: ${data.length}\r\n`, data)
      count.add(1)
    } catch (error) {
      fail(path, error, connection)
    }
  }
}

function parsePlain(path: string): ReadShardSlicesRequest | undefined {
  const match = PLAIN.exec(path)
  if (match === null) return undefined
  const [, volume = '', runId = '', ...numbers] = match
  const [shard = 0, offsetBytes = 0, lengthBytes = 0, sliceCount = 0, strideBytes = 0] =
    numbers.map(Number)
  return {
    volumeId: volumeId(Number(volume)),
    runId,
    shard,
    offsetBytes,
    lengthBytes,
    sliceCount,
    strideBytes,
  }
}
