import { TestVolume } from './test-volume.ts'

export type VolumeFiles = Readonly<Record<'dat' | 'idx' | 'sum', Buffer>>

export interface SmallVolume {
  readonly files: VolumeFiles
  readonly needles: ReadonlyMap<number, string | undefined>
}

/**
 * The files of a volume of 12 rows, closed in order: puts, overwrites, deletes, an id put again.
 */
export async function smallVolume(): Promise<SmallVolume> {
  await using test = await TestVolume.create()
  const needles = new Map<number, string | undefined>()
  const put = async (id: number, data: string) => {
    await test.put(id, data)
    needles.set(id, data)
  }
  const remove = async (id: number) => {
    await test.delete(id)
    needles.set(id, undefined)
  }
  for (let id = 1; id <= 6; id++) await put(id, `needle ${id}`)
  await remove(2)
  await put(3, 'overwritten')
  await remove(4)
  await put(2, 'lives again')
  await remove(5)
  await put(7, '')
  await test.close()
  const files = { dat: test.file('dat'), idx: test.file('idx'), sum: test.file('sum') }
  return { files, needles }
}

/** A copy with some bits of one byte flipped. */
export function flipped(bytes: Buffer, at: number, mask = 0xff): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ mask
  return copy
}
