import { assert } from '../base/assert.ts'

/** Counts the reads that use a file, so that it is closed only when none is left. */
export class OpenReaders {
  #count = 0
  #isClosed = false
  #whenUnread: (() => void) | undefined

  /** Keeps the files open while an asynchronous read uses them. */
  retain(): Disposable {
    assert(!this.#isClosed, 'a read began on closed files')
    this.#count++
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return
        isHeld = false
        this.#count--
        if (this.#count === 0) this.#whenUnread?.()
      },
    }
  }

  /** No read may begin from now on; waits for those under way. False: that was said before. */
  async close(): Promise<boolean> {
    if (this.#isClosed) return false
    this.#isClosed = true
    if (this.#count > 0) {
      await new Promise<void>((resolve) => {
        this.#whenUnread = resolve
      })
    }
    return true
  }
}
