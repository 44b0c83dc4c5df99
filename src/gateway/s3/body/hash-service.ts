import type { ChecksumAlgorithm } from '../bucket-settings.ts'
import { type BodySums, RunningSums } from './body-checks.ts'

/** What a thread that hashes is told. Calls of one stream come in order. */
export type HashCall =
  | {
      readonly kind: 'start'
      readonly stream: number
      readonly algorithms: readonly ChecksumAlgorithm[]
    }
  /** `bytes` is handed over, and comes back with the answer. */
  | { readonly kind: 'update'; readonly stream: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'digest'; readonly stream: number }
  /** Nobody wants to know any more. */
  | { readonly kind: 'drop'; readonly stream: number }

/** What it answers to `update` and `digest`. */
export type HashAnswer =
  | { readonly kind: 'taken'; readonly stream: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'sums'; readonly stream: number; readonly sums: BodySums }

/** A `MessagePort` or a `Worker`, from either side. */
export interface HashPort<Sent, Received> {
  postMessage(message: Sent, transfer: readonly ArrayBuffer[]): void
  on(event: 'message', listener: (message: Received) => void): unknown
}

/** Hashes what comes through the port: the work of a thread that does nothing else. */
export function serveHashes(port: HashPort<HashAnswer, HashCall>): void {
  const streams = new Map<number, RunningSums>()
  port.on('message', (call) => {
    const { stream } = call
    switch (call.kind) {
      case 'start':
        streams.set(stream, new RunningSums(call.algorithms))
        return
      case 'update': {
        const { bytes } = call
        streams.get(stream)?.update(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
        port.postMessage({ kind: 'taken', stream, bytes }, [bytes.buffer])
        return
      }
      case 'digest': {
        const sums = streams.get(stream)?.digest()
        streams.delete(stream)
        if (sums !== undefined) port.postMessage({ kind: 'sums', stream, sums }, [])
        return
      }
      case 'drop':
        streams.delete(stream)
    }
  })
}
