import { readClusterSecret } from '../net/cluster-secret.ts'
import type { TlsKeys } from '../net/tls.ts'
import { type ClusterFlags, masterAddresses } from './cluster-options.ts'
import type { CliContext } from './context.ts'
import { readTlsKeys } from './tls-options.ts'

/** For one try of one call of a master. */
const MASTER_TIMEOUT_MS = 10_000

interface Keys {
  readonly secret: Buffer | undefined
  readonly tls: TlsKeys | undefined
}

/** How the masters that flags name are reached. */
export interface MasterAccess {
  /** For one of the APIs of masters over gRPC. */
  readonly channels: Keys & { readonly addresses: readonly string[]; readonly timeoutMs: number }
  /** For a client of the whole cluster. */
  readonly cluster: Keys & { readonly masters: readonly string[] }
}

/** @throws {StoreError} CONFIG_INVALID: an option. */
export async function readMasterAccess(
  { disk }: CliContext,
  flags: ClusterFlags,
): Promise<MasterAccess> {
  // Judged here, where the error can name the flag.
  const addresses = masterAddresses(flags)
  const { secretFile } = flags
  const secret = secretFile === undefined ? undefined : await readClusterSecret(disk, secretFile)
  const keys = { secret, tls: await readTlsKeys(disk, flags) }
  const grpc = addresses.map((address) => address.grpc)
  const masters = addresses.map((address) => `${address.http}.${portOf(address.grpc)}`)
  return {
    channels: { ...keys, addresses: grpc, timeoutMs: MASTER_TIMEOUT_MS },
    cluster: { ...keys, masters },
  }
}

function portOf(address: string): string {
  return address.slice(address.lastIndexOf(':') + 1)
}
