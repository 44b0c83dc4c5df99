import type { LRUCache } from 'lru-cache'

const ENTRIES_MAX = 1000

/**
 * For `vi.mock('lru-cache', …)` in tests that start many servers: caches of real size are made as
 * large as they may become, and that would take most of the time of a start.
 */
export async function smallCaches<Library extends { readonly LRUCache: typeof LRUCache }>(
  importOriginal: () => Promise<Library>,
): Promise<Library> {
  const original = await importOriginal()
  class SmallCache extends original.LRUCache<object, object> {
    constructor(options: ConstructorParameters<typeof LRUCache<object, object>>[0]) {
      const { max = 0 } = options
      super(max > ENTRIES_MAX ? { ...options, max: ENTRIES_MAX } : options)
    }
  }
  return { ...original, LRUCache: SmallCache }
}
