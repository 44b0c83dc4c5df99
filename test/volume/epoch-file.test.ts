import { describe, expect, test } from 'vitest'
import { EpochFile } from '../../src/volume/epoch-file.ts'
import { PowerCut } from '../support/fault-plan.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { LocalCluster, LocalNode, vacuumCommand } from './local-node.ts'

const PATH = '/a/epoch'

async function newDisk(seed = 1): Promise<MemDisk> {
  const disk = new MemDisk(new Prng(seed))
  await disk.createDirectory('/a')
  return disk
}

describe('EpochFile', () => {
  test('obeys 0 up to the highest ever, refuses lower ones, also after a restart', async () => {
    const disk = await newDisk()
    const epochs = await EpochFile.open(disk, PATH)
    await epochs.obey(0)
    await epochs.obey(5)
    await epochs.obey(5)
    await expect(epochs.obey(4)).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    const again = await EpochFile.open(disk, PATH)
    expect(again.highest).toBe(5)
    await expect(again.obey(4)).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    await again.obey(6)
    expect(again.highest).toBe(6)
  })

  test('an epoch that could not be written down is not obeyed, and can be tried again', async () => {
    const disk = await newDisk()
    const epochs = await EpochFile.open(disk, PATH)
    disk.failCall(1, 'EIO', ['datasync'])
    await expect(epochs.obey(2)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect(epochs.highest).toBe(0)
    await epochs.obey(1)
    expect(epochs.highest).toBe(1)
  })

  test('many at once: the highest counts, and every answer is one it may give', async () => {
    const disk = await newDisk()
    const epochs = await EpochFile.open(disk, PATH)
    const results = await Promise.allSettled([3, 1, 2, 7, 7, 5].map((epoch) => epochs.obey(epoch)))
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'fulfilled',
      'fulfilled',
      'rejected',
    ])
  })

  test.each(['', 'seven', '-1', '99999999999999999999'])(
    'a file with %o is refused',
    async (text) => {
      const disk = await newDisk()
      disk.put(PATH, Buffer.from(text))
      await expect(EpochFile.open(disk, PATH)).rejects.toMatchObject({ code: 'METADATA_CORRUPT' })
    },
  )

  test.each(seeds(40))('a power cut loses no epoch that was obeyed (seed %d)', async (seed) => {
    const disk = await newDisk(seed)
    disk.cutPowerAfter(new Prng(seed).between(1, 20))
    let obeyed = 0
    try {
      const epochs = await EpochFile.open(disk, PATH)
      for (let epoch = 1; epoch <= 6; epoch++) {
        await epochs.obey(epoch)
        obeyed = epoch
      }
    } catch (error) {
      expect(error).toBeInstanceOf(PowerCut)
    }
    disk.restart()
    const { highest } = await EpochFile.open(disk, PATH)
    expect([obeyed, obeyed + 1]).toContain(highest)
  })
})

describe('commands of a master', () => {
  test('that was replaced change nothing, whatever they are', async () => {
    const cluster = new LocalCluster()
    await using node = await LocalNode.open(cluster, 1)
    await node.allocate(3, '000', 5)
    await node.put(3, 1, 'one')
    const stale = { epoch: 4, volumeId: vid(3) }
    await expect(node.allocate(4, '000', 4)).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    await expect(node.api.sealVolume(stale, SIGNAL)).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    await expect(node.api.deleteVolume(stale, SIGNAL)).rejects.toMatchObject({
      code: 'EPOCH_STALE',
    })
    const vacuuming = node.api
      .vacuumVolume({ ...vacuumCommand(3), ...stale }, SIGNAL)
      [Symbol.asyncIterator]()
      .next()
    await expect(vacuuming).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    expect(await node.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({
      state: 'writable',
      liveNeedles: 1,
      compactionRevision: 0,
    })
    await expect(node.api.volumeStatus(vid(4), SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    })
  })

  test('are carried out only once their epoch is on disk', async () => {
    const cluster = new LocalCluster()
    await using node = await LocalNode.open(cluster, 1)
    const order: string[] = []
    node.hooks.before = ({ kind, path }) => {
      if (kind === 'syncDirectory' || path.endsWith('3.dat.tmp')) order.push(`${kind} ${path}`)
    }
    await node.allocate(3, '000', 9)
    expect(order[0]).toBe('syncDirectory /a')
    expect(order[1]).toContain('3.dat.tmp')
    expect(node.disk.contents('/a/epoch').toString()).toBe('9\n')
  })
})
