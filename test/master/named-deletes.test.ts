import { expect, test } from 'vitest'
import { cookie } from '../../src/base/ids.ts'
import { NO_SIGNAL, TestMaster } from '../support/test-master.ts'

test('the file a name meant is deleted 10 s later, on a server that holds it', async () => {
  await using cluster = await TestMaster.open()
  const server = await cluster.add('a:1')
  const link = async (name: string) => {
    const { volumeId, firstNeedleId } = await cluster.assign()
    const fileId = { volumeId, needleId: firstNeedleId, cookie: cookie(1) }
    await cluster.settle(cluster.master.linkName({ name, fileId, dataBytes: 1 }, NO_SIGNAL))
    return fileId
  }
  const old = await link('photo')
  await link('photo')
  await cluster.beat(5000)
  expect(server.deleted).toEqual([])
  await cluster.beat(6000)
  expect(server.deleted).toEqual([`${old.volumeId}:${old.needleId.lo}`])
})

test('a file of a volume that nobody has any more counts as deleted, once all servers are here', async () => {
  await using cluster = await TestMaster.open()
  const a = await cluster.add('a:1')
  const b = await cluster.add('b:1')
  const { volumeId, firstNeedleId } = await cluster.assign({ collection: 'x', node: 'a:1' })
  const fileId = { volumeId, needleId: firstNeedleId, cookie: cookie(1) }
  const file = { name: 'n', fileId, dataBytes: 1 }
  await cluster.settle(cluster.master.linkName(file, NO_SIGNAL))
  await cluster.settle(cluster.master.deleteCollection('x', NO_SIGNAL))
  await cluster.settle(cluster.master.unlinkName('n', NO_SIGNAL))
  b.leave()
  for (let round = 0; round < 5; round++) await cluster.beat()
  expect(cluster.master.gauges.nameDeletesDone).toBe(0)
  b.join(cluster.master, NO_SIGNAL)
  for (let round = 0; round < 20; round++) await cluster.beat()
  expect(cluster.master.gauges.nameDeletesDone).toBe(1)
  expect(a.deleted.filter((each) => each.includes(':'))).toEqual([])
})
