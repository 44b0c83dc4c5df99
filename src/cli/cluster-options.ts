import type { Command } from 'commander'
import { readAddresses, type ServerAddress } from './setting-values.ts'
import { addTlsOptions, type TlsFlags } from './tls-options.ts'

export interface ClusterFlags extends TlsFlags {
  readonly master: string
  readonly secretFile?: string
}

export const MASTER_PORT = 9333
export const MASTER_DEFAULT = `127.0.0.1:${MASTER_PORT}`

export function addClusterOptions(command: Command): Command {
  command
    .option('--master <addresses>', 'masters, host:port with commas between', MASTER_DEFAULT)
    .option('--secret-file <file>', 'cluster secret, for orders, and where files need tokens')
  return addTlsOptions(command)
}

/** @throws {StoreError} CONFIG_INVALID: --master is no list of addresses. */
export function masterAddresses({ master }: ClusterFlags): readonly ServerAddress[] {
  return readAddresses('--master', master, MASTER_PORT)
}
