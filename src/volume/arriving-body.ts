import type { PutStreamRequest } from '../net/volume-api.ts'
import type { NeedleWrite } from './needle-writes.ts'

/** The write that a body became when it was complete. */
export interface Entered {
  /** Nothing was stored under its id before. */
  readonly isNew: boolean
  readonly write: NeedleWrite
  readonly leave: () => void
}

/** The body of a stream, which enters the volume when the last of it has arrived. */
export class ArrivingBody implements Disposable {
  entered: Entered | undefined
  readonly #source: AsyncIterable<Uint8Array>
  readonly #enter: () => Promise<Entered>
  #isInside = false

  constructor(request: PutStreamRequest, enter: () => Promise<Entered>) {
    this.#source = request.source
    this.#enter = enter
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#source
    this.entered = await this.#enter()
    this.#isInside = true
  }

  /** It has been stored here. */
  leave(): void {
    if (this.#isInside) this.entered?.leave()
    this.#isInside = false
  }

  /** Nothing is to be undone any more. */
  [Symbol.dispose](): void {
    this.leave()
    this.entered?.write[Symbol.dispose]()
  }
}
