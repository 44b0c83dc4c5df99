import { describe, expect, test } from 'vitest'
import { fetchFile } from '../../src/cli/files-transfer.ts'
import type { DownloadPart } from '../../src/net/files-api.ts'
import type { RemoteFiles } from '../../src/net/remote-files.ts'
import { makeCliContext } from '../support/cli-run.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { expectCode, gather } from '../support/test-volume.ts'

const FILE = {
  user: 'u',
  name: 'n',
  sizeBytes: 4,
  contentType: undefined,
  createdAtMs: 0,
  modifiedAtMs: 0,
  version: 1,
  sha256: '03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4',
  etag: '',
  chunkCount: 1,
}

function fetch(parts: readonly DownloadPart[], range: object = {}): Promise<Buffer> {
  const context = makeCliContext(new MemDisk(new Prng(1)))
  const files = {
    download: async function* () {
      yield* parts
    },
  } as unknown as RemoteFiles
  const request = { user: '', name: 'n', start: 0, ...range }
  return gather(fetchFile(context, files, request, true))
}

describe('what a gateway sends', () => {
  test('is the file if it has its length and its SHA-256', async () => {
    const parts = [{ file: FILE }, { data: Buffer.from('12') }, { data: Buffer.from('34') }]
    expect((await fetch(parts)).toString()).toBe('1234')
    const unknown = [{ file: { ...FILE, sha256: undefined } }, { data: Buffer.from('4321') }]
    expect((await fetch(unknown)).toString()).toBe('4321')
    const range = [{ file: FILE }, { data: Buffer.from('23') }]
    expect((await fetch(range, { start: 1, end: 3 })).toString()).toBe('23')
  })

  test.each([
    ['other bytes', [{ file: FILE }, { data: Buffer.from('1235') }], 'CHECKSUM_MISMATCH'],
    ['too few bytes', [{ file: FILE }, { data: Buffer.from('123') }], 'PEER_FAILED'],
    ['too many bytes', [{ file: FILE }, { data: Buffer.from('12345') }], 'PEER_FAILED'],
    ['no file', [], 'PEER_FAILED'],
  ] as const)('is refused with %s', async (_, parts, code) => {
    await expectCode(fetch(parts), code)
  })
})
