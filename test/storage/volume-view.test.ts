import { describe, expect, test } from 'vitest'
import { isStoreError } from '../../src/base/store-error.ts'
import { ReadBuffer } from '../../src/storage/read-buffer.ts'
import { VolumeView } from '../../src/storage/volume-view.ts'
import { Prng } from '../support/prng.ts'
import { cookieOf, SIGNAL, TestVolume, toId } from '../support/test-volume.ts'

const IDS = 40

/** What a data thread sees: the data, that there is none, or that it must ask the owner. */
async function look(view: VolumeView, id: number): Promise<string | undefined | 'ask'> {
  const request = { id: toId(id), cookie: cookieOf(id) }
  try {
    const found = view.readWarm(request, new ReadBuffer(4096)) ?? (await view.read(request))
    return found === undefined ? 'ask' : found.data.toString()
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return undefined
    throw error
  }
}

async function openView(volume: TestVolume): Promise<VolumeView> {
  // As it arrives in another thread.
  const shared = structuredClone(volume.volume.share())
  return VolumeView.open({ disk: volume.disk, clock: volume.clock }, shared)
}

describe('a view of a volume', () => {
  // Goal: a view never shows anything but the present needle; when it cannot tell, it says so.
  // Method: random puts, overwrites, deletes, vacuums, seals and restarts beside a map; after each
  // step every id is looked at through a view that may be old. Replay: the seed in the title.
  test.each(Array.from({ length: 30 }, (_, seed) => seed))(
    'agrees with the volume through 300 steps, or asks (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      await using volume = await TestVolume.create({ seed })
      const model = new Map<number, string>()
      let view = await openView(volume)
      let answered = 0
      for (let step = 0; step < 300; step++) {
        const id = 1 + prng.below(IDS)
        const choice = prng.below(100)
        if (choice < 60) {
          const data = `${step}`.repeat(1 + prng.below(20))
          await volume.put(id, data)
          model.set(id, data)
        } else if (choice < 90) {
          await volume.delete(id)
          model.delete(id)
        } else if (choice < 94) {
          await volume.volume.vacuum({}, SIGNAL)
        } else if (choice < 96) {
          await volume.reopen()
        } else if (view.isStale) {
          await view[Symbol.asyncDispose]()
          view = await openView(volume)
        }
        const looked = 1 + prng.below(IDS)
        const seen = await look(view, looked)
        if (seen === 'ask') expect(view.isStale).toBe(true)
        else {
          answered++
          expect(seen).toBe(model.get(looked))
        }
      }
      expect(answered).toBeGreaterThan(0)
      await view[Symbol.asyncDispose]()
    },
  )

  test('of a sealed volume sees deletes, and needles of 100 ids', async () => {
    await using volume = await TestVolume.create()
    for (let id = 1; id <= 100; id++) await volume.put(id, `needle ${id}`)
    const before = await openView(volume)
    await volume.volume.seal()
    expect(before.isStale).toBe(true)
    const view = await openView(volume)
    for (let id = 1; id <= 100; id++) expect(await look(view, id)).toBe(`needle ${id}`)
    await volume.delete(7)
    expect(await look(view, 7)).toBeUndefined()
    expect(view.isStale).toBe(false)
    await before[Symbol.asyncDispose]()
    await view[Symbol.asyncDispose]()
  })

  test('leaves a needle of 9 MiB to the owner, and is not stale for that', async () => {
    await using volume = await TestVolume.create()
    await volume.put(1, Buffer.alloc(9 * 2 ** 20, 1))
    const view = await openView(volume)
    expect(await look(view, 1)).toBe('ask')
    expect(view.isStale).toBe(false)
    await view[Symbol.asyncDispose]()
  })

  test('refuses a wrong cookie', async () => {
    await using volume = await TestVolume.create()
    await volume.put(1, 'one')
    const view = await openView(volume)
    const wrong = view.read({ id: toId(1), cookie: 1 })
    await expect(wrong).rejects.toMatchObject({ code: 'COOKIE_MISMATCH' })
    await view[Symbol.asyncDispose]()
  })
})
