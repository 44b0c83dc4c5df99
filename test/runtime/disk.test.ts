import { describe, expect, test } from 'vitest'
import { isStoreError } from '../../src/base/store-error.ts'
import { type DiskFile, diskError, writeFully } from '../../src/runtime/disk.ts'

describe('diskError', () => {
  test.each([
    ['ENOSPC', 'DISK_FULL'],
    ['EDQUOT', 'DISK_FULL'],
    ['ENOENT', 'PATH_NOT_FOUND'],
    ['EEXIST', 'TARGET_EXISTS'],
    ['ENOTEMPTY', 'TARGET_EXISTS'],
    ['EACCES', 'DIRECTORY_UNUSABLE'],
    ['EPERM', 'DIRECTORY_UNUSABLE'],
    ['EROFS', 'DIRECTORY_UNUSABLE'],
    ['ENOTDIR', 'DIRECTORY_UNUSABLE'],
    ['EIO', 'DISK_FAILED'],
    ['EMFILE', 'DISK_FAILED'],
    ['EISDIR', 'DISK_FAILED'],
    ['toString', 'DISK_FAILED'],
  ])('%s is %s', (errno, code) => {
    const cause = Object.assign(new Error('from the system'), { code: errno })
    const error = diskError('rename', '/data/7.dat', cause)
    expect(isStoreError(error)).toBe(true)
    expect(error).toMatchObject({ code, cause })
    expect(error.message).toBe(`rename of /data/7.dat failed: ${errno}`)
  })

  test.each([
    [new Error('odd'), 'odd'],
    ['text', 'text'],
    [undefined, 'undefined'],
    [{}, 'unknown'],
  ])('what is no system error is DISK_FAILED too', (cause, reason) => {
    expect(diskError('read', 'a', cause)).toMatchObject({
      code: 'DISK_FAILED',
      message: `read of a failed: ${reason}`,
    })
  })
})

describe('writeFully', () => {
  test.each([1, 2, 3, 4, 5, 7, 11, 12])('goes on when a call takes %d bytes', async (step) => {
    const file = new ShortFile(() => step)
    await writeFully(file.asDiskFile(), texts('abc', '', 'defgh', 'i', 'jk'), 3)
    expect(file.bytes.toString('latin1')).toBe('\0\0\0abcdefghijk')
  })

  test('a disk that takes nothing more is DISK_FULL', async () => {
    let calls = 0
    const file = new ShortFile(() => (calls++ < 2 ? 3 : 0))
    await expect(writeFully(file.asDiskFile(), texts('abcde', 'fgh'), 0)).rejects.toMatchObject({
      code: 'DISK_FULL',
    })
    expect(file.bytes.toString('latin1')).toBe('abcdef')
  })

  test.each([{ buffers: [] }, { buffers: [Buffer.alloc(0)] }])(
    'nothing is no call',
    async (sample) => {
      const file = new ShortFile(() => expect.unreachable())
      await writeFully(file.asDiskFile(), sample.buffers, 0)
    },
  )
})

/** Takes as many bytes of each write as `takes` says. */
class ShortFile {
  bytes = Buffer.alloc(0)
  readonly #takes: () => number

  constructor(takes: () => number) {
    this.#takes = takes
  }

  asDiskFile(): DiskFile {
    const writev = async (buffers: readonly Uint8Array[], position: number) => {
      const taken = Buffer.concat(buffers).subarray(0, this.#takes())
      const longer = Buffer.alloc(Math.max(this.bytes.length, position + taken.length))
      longer.set(this.bytes)
      longer.set(taken, position)
      this.bytes = longer
      return taken.length
    }
    return { path: 'short', writev } as unknown as DiskFile
  }
}

function texts(...parts: string[]): Buffer[] {
  return parts.map((part) => Buffer.from(part))
}
