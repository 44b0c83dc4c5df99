/** What a failed `assert` throws: a bug of ours. Nobody catches it; the process ends. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure'
}

/**
 * States what must hold if our own code is right. Bytes that were read, callers and disks are never
 * asserted: what they do wrong is a `StoreError`.
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message)
}
