declare module '@ronomon/reed-solomon' {
  /** Can be used again and by several calls at once. */
  export function create(k: number, m: number): Buffer
  /**
   * `sources` and `targets` are sets of shards, one bit each, data shards first. The thread pool
   * does the work. Bad arguments throw; an empty buffer ends the process.
   */
  export function encode(
    context: Buffer,
    sources: number,
    targets: number,
    buffer: Uint8Array,
    bufferOffset: number,
    bufferSize: number,
    parity: Uint8Array,
    parityOffset: number,
    paritySize: number,
    callback: (error?: Error) => void,
  ): void
}
