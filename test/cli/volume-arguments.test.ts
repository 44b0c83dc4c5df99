import { expect, test } from 'vitest'
import { lockDirectories, resolveVolumes } from '../../src/cli/volume-arguments.ts'
import { golden } from '../support/golden.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { expectCode } from '../support/test-volume.ts'

function makeDisk(): MemDisk {
  const disk = new MemDisk(new Prng(1))
  for (const name of ['10.dat', '9.dat', 'photos_3.dat', '9.idx', 'notes.txt', 'my.dat']) {
    disk.put(`/v/${name}`, golden('super-block-v3.dat'))
  }
  disk.put('/empty/notes.txt', Buffer.alloc(1))
  return disk
}

async function resolve(...args: string[]): Promise<string[]> {
  return (await resolveVolumes(makeDisk(), args)).map(({ paths }) => paths.dat)
}

test('a directory stands for its volumes, sorted by collection and id as a number', async () => {
  expect(await resolve('/v')).toEqual(['/v/9.dat', '/v/10.dat', '/v/photos_3.dat'])
})

test('a .dat file and its base name are the same volume, taken once', async () => {
  expect(await resolve('/v/9.dat', '/v/9', '/v')).toHaveLength(3)
  expect(await resolve('/v/photos_3')).toEqual(['/v/photos_3.dat'])
  const [volume] = await resolveVolumes(makeDisk(), ['/v/photos_3'])
  expect(volume).toMatchObject({ directory: '/v', collection: 'photos', volumeId: 3 })
})

test.each([
  ['/v/notes.txt', 'NOT_A_VOLUME'],
  ['/v/my.dat', 'NOT_A_VOLUME'],
  ['/v/9.idx', 'NOT_A_VOLUME'],
  ['/empty', 'NOT_A_VOLUME'],
  ['/v/11', 'PATH_NOT_FOUND'],
  ['/nowhere', 'PATH_NOT_FOUND'],
] as const)('%s is refused with %s', async (path, code) => {
  await expectCode(resolve(path), code)
})

test('directories are locked once each; a second taker is refused, and none is kept', async () => {
  const disk = makeDisk()
  const volumes = await resolveVolumes(disk, ['/v'])
  {
    await using _held = await lockDirectories(disk, volumes)
    await expectCode(lockDirectories(disk, volumes), 'DIRECTORY_LOCKED')
  }
  expect(disk.openFiles).toBe(0)
})

test('what is no readable volume is refused before a lock file is made', async () => {
  const disk = makeDisk()
  disk.put('/v/9.dat', Buffer.from([3, 0]))
  const volumes = await resolveVolumes(disk, ['/v'])
  await expectCode(lockDirectories(disk, volumes), 'SUPER_BLOCK_CORRUPT')
  expect(await disk.stat('/v/hayloft.lock')).toBeUndefined()
})
