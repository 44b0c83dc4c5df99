import type { TlsKeys } from '../net/tls.ts'

/** How a process that is no server of a cluster's files reaches it. */
export interface ClusterConfig {
  /** host:port of the gRPC of every master. */
  readonly masters: readonly string[]
  readonly secret: Buffer
  readonly tls: TlsKeys | undefined
}
