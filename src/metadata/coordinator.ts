/** Numbers `first` up to, not including, `end`. */
export interface NumberBlock {
  readonly first: bigint
  readonly end: bigint
}

/**
 * Who leads, under which epoch, and numbers that are never given out twice. Every engine passes
 * `test/conformance/coordinator.ts`.
 */
export interface Coordinator extends AsyncDisposable {
  /** Chosen at random when the cluster was first started; 32 hex digits. */
  readonly clusterId: string
  /** Above that of every earlier leader, and durable before it is seen here. 0: not leading. */
  readonly epoch: number
  /** Address of the leader, as masters name themselves; empty: nobody leads now. */
  readonly leader: string

  /** Ask at the moment of acting, never remember the answer: a pause may have outlived it. */
  isLeader(): boolean

  /**
   * `count` numbers that no other call ever gets, for this `name`; none below `atLeast`. It is
   * durable that they were given out when this returns: a crash loses the block, and reuses none.
   * The first number of a new name is 1, or `atLeast`.
   *
   * @throws {StoreError} NOT_LEADER; CANCELLED: `signal` aborted first; the errors of the store
   * behind it.
   */
  allocateBlock(
    name: string,
    count: number,
    atLeast: bigint,
    signal: AbortSignal,
  ): Promise<NumberBlock>
}
