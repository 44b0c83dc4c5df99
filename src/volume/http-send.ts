import type { ServerResponse } from 'node:http'
import { StoreError } from '../base/store-error.ts'
import { onAbort } from '../runtime/abort.ts'
import type { LentBytes } from '../runtime/buffer-shelf.ts'

/**
 * Sends exactly `bytes`, no faster than the client takes them. The response must not end on an
 * error: its length was promised, and only a broken connection tells the client that it is short.
 *
 * @throws {StoreError} PEER_FAILED: the source has another length. CANCELLED: the client went away.
 */
export async function sendPieces(
  res: ServerResponse,
  source: AsyncIterable<Uint8Array | LentBytes>,
  bytes: number | undefined,
): Promise<void> {
  let sentBytes = 0
  for await (const given of source) {
    const piece = 'release' in given ? given.bytes : given
    sentBytes += piece.length
    if (bytes !== undefined && sentBytes > bytes) break
    // The system has its own copy only when it calls back, also after a failure.
    const onWritten = 'release' in given ? () => given.release() : undefined
    if (piece.length > 0 && !res.write(piece, onWritten)) await drained(res)
    if (res.destroyed) throw goneError()
  }
  if (bytes !== undefined && sentBytes !== bytes) {
    throw new StoreError('PEER_FAILED', `the source has not the ${bytes} bytes it promised`)
  }
}

function drained(res: ServerResponse): Promise<void> {
  if (res.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      res.off('drain', done).off('close', done)
      resolve()
    }
    res.on('drain', done).on('close', done)
  })
}

/** Aborts when the client goes away before it has its answer, or when `outer` does. */
export function signalOf(res: ServerResponse, outer: AbortSignal): AbortSignal {
  const controller = new AbortController()
  if (outer.aborted || res.destroyed) {
    controller.abort(goneError())
    return controller.signal
  }
  const stopping = onAbort(outer, () => controller.abort(outer.reason))
  res.once('close', () => {
    stopping[Symbol.dispose]()
    if (!res.writableFinished) controller.abort(goneError())
  })
  return controller.signal
}

function goneError(): StoreError {
  return new StoreError('CANCELLED', 'the client went away')
}
