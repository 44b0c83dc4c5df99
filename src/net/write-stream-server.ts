import type { ServerDuplexStream } from '@grpc/grpc-js'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Logger } from '../runtime/logger.ts'
import { toServiceError } from './error-maps.ts'
import type { CallContext } from './grpc-service.ts'
import type { VolumeApi } from './volume-api.ts'
import {
  deleteFromWire,
  deleteResultToWire,
  failureToWire,
  putFromWire,
  putResultToWire,
  type WireOperation,
  type WireResult,
  type WireResults,
  type WireWriteRequest,
} from './wire-volume.ts'

export interface WriteStreamParts {
  readonly api: VolumeApi
  readonly logger: Logger | undefined
  readonly stream: ServerDuplexStream<object, object>
  readonly call: CallContext
}

/** An honest client sends `LIMITS.writeMessageOperations`; only a broken one four times as many. */
const MESSAGE_OPERATIONS_MAX = 4 * LIMITS.writeMessageOperations.value

/**
 * The server's end of a Write stream.
 *
 *     message → operations → [ api, at most a window ] → results of one turn → one message
 *
 * What was accepted is finished and answered, whatever the client does next: closing its side,
 * cancelling, or going away. While a window of operations is unanswered nothing more is read, and
 * a client that does not read its answers gets no further either.
 */
export class WriteStreamServer {
  readonly #parts: WriteStreamParts
  /** Accepted, and the answer not handed to the stream yet. */
  #unansweredCount = 0
  #results: WireResult[] = []
  #isFlushDue = false
  #isSinkFull = false
  #isPaused = false
  /** No more operations are accepted. */
  #isEnding = false
  #failure: StoreError | undefined
  #onDone: (() => void) | undefined

  constructor(parts: WriteStreamParts) {
    this.#parts = parts
  }

  /** Resolves when every accepted operation is done and nobody will hear of more. */
  async run(): Promise<void> {
    const { stream, call } = this.#parts
    using _closing = onAbort(call.closing, () => this.#end(call.closing.reason))
    using _cancelled = onAbort(call.signal, () => this.#end(call.signal.reason))
    stream.on('data', (message: WireWriteRequest) => this.#accept(message))
    stream.on('end', () => this.#end(undefined))
    stream.on('drain', () => {
      this.#isSinkFull = false
      this.#flush()
    })
    await new Promise<void>((resolve) => {
      this.#onDone = resolve
      this.#finishIfDone()
    })
    if (stream.cancelled) return
    if (this.#failure === undefined) stream.end()
    else stream.emit('error', toServiceError(this.#failure))
  }

  #accept(message: WireWriteRequest): void {
    if (this.#isEnding) return
    const { operations } = message
    if (operations.length > MESSAGE_OPERATIONS_MAX) {
      const text = `${operations.length} operations in one message`
      this.#end(new StoreError('REQUEST_INVALID', text))
      return
    }
    this.#unansweredCount += operations.length
    if (this.#unansweredCount >= LIMITS.writeStreamWindow.value) {
      this.#isPaused = true
      this.#parts.stream.pause()
    }
    for (const operation of operations) void this.#perform(operation)
  }

  /** Never rejects: an operation that fails has a result that says so. */
  async #perform(operation: WireOperation): Promise<void> {
    const { sequence } = operation
    try {
      this.#answer(await this.#apply(operation))
    } catch (error) {
      if (!isStoreError(error)) {
        this.#parts.logger?.error('grpc.write_failed', { error })
      }
      this.#answer(failureToWire(sequence, error))
    }
  }

  async #apply({ sequence, put, delete: del }: WireOperation): Promise<WireResult> {
    const { api, call } = this.#parts
    const wire = put ?? del
    if (wire === undefined || wire === null) {
      throw new StoreError('REQUEST_INVALID', 'an operation that is neither put nor delete')
    }
    checkReplica(wire.isReplica, call.isCluster)
    if (put !== undefined && put !== null) {
      return putResultToWire(sequence, await api.put(putFromWire(put), call.lifetime))
    }
    return deleteResultToWire(sequence, await api.delete(deleteFromWire(wire), call.lifetime))
  }

  #answer(result: WireResult): void {
    this.#results.push(result)
    if (this.#isFlushDue || this.#isSinkFull) return
    this.#isFlushDue = true
    setImmediate(() => {
      this.#isFlushDue = false
      this.#flush()
    })
  }

  #flush(): void {
    const { stream, call } = this.#parts
    const results = this.#results
    if (results.length > 0 && !this.#isSinkFull) {
      this.#results = []
      this.#unansweredCount -= results.length
      const message: WireResults = { results }
      if (!call.signal.aborted) this.#isSinkFull = !stream.write(message)
    }
    if (this.#isPaused && this.#unansweredCount < LIMITS.writeStreamWindow.value) {
      this.#isPaused = false
      stream.resume()
    }
    this.#finishIfDone()
  }

  #end(failure: StoreError | undefined): void {
    if (!this.#isEnding) this.#failure = failure
    this.#isEnding = true
    // Nobody drains a stream that is gone.
    if (this.#parts.call.signal.aborted) this.#isSinkFull = false
    this.#flush()
  }

  #finishIfDone(): void {
    if (this.#isEnding && this.#unansweredCount === 0) this.#onDone?.()
  }
}

/** @throws {StoreError} UNAUTHENTICATED: a replica's write from someone without the secret. */
export function checkReplica(isReplica: boolean, isCluster: boolean): void {
  if (isReplica && !isCluster) {
    throw new StoreError('UNAUTHENTICATED', 'writing a replica needs the cluster secret')
  }
}
