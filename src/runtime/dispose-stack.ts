import { assert } from '../base/assert.ts'

/**
 * Owns what was opened so far and closes it in reverse order. `await using` one while opening
 * several things, then `move()` it into the object that will own them.
 */
export class DisposeStack implements AsyncDisposable {
  #steps: (() => unknown)[] = []
  #isSpent = false

  /** Takes over `resource` and returns it. */
  use<Resource extends AsyncDisposable | Disposable>(resource: Resource): Resource {
    if (Symbol.asyncDispose in resource) this.defer(() => resource[Symbol.asyncDispose]())
    else this.defer(() => resource[Symbol.dispose]())
    return resource
  }

  /** Runs `step` when disposed. */
  defer(step: () => unknown): void {
    assert(!this.#isSpent, 'a disposed stack cannot take over anything')
    this.#steps.push(step)
  }

  /** Hands everything to a new stack; this one has nothing left to dispose. */
  move(): DisposeStack {
    assert(!this.#isSpent, 'a disposed stack has nothing to move')
    const moved = new DisposeStack()
    moved.#steps = this.#steps
    this.#steps = []
    this.#isSpent = true
    return moved
  }

  /**
   * Disposes of everything even if a part fails; then throws what failed, as an `AggregateError`
   * when there are several. A second call does nothing.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isSpent = true
    const errors: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length === 1) throw errors[0]
    if (errors.length > 1)
      throw new AggregateError(errors, `${errors.length} parts failed to close`)
  }
}
