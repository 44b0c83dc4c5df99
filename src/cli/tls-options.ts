import type { Command } from 'commander'
import { StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'
import type { TlsKeys } from '../net/tls.ts'
import { type Disk, readFile } from '../runtime/disk.ts'

export interface TlsFlags {
  readonly tlsCa?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
}

/** A bundle of a few hundred certificates. */
const PEM_MAX_BYTES = 1024 * KIB

export function addTlsOptions(command: Command): Command {
  return command
    .option('--tls-ca <file>', 'PEM of the authority whose certificates gRPC trusts')
    .option('--tls-cert <file>', "PEM of this program's certificate, for gRPC")
    .option('--tls-key <file>', 'PEM of its key')
}

/** @throws {StoreError} CONFIG_INVALID: only some of the three are given, or one cannot be read. */
export async function readTlsKeys(disk: Disk, flags: TlsFlags): Promise<TlsKeys | undefined> {
  const { tlsCa, tlsCert, tlsKey } = flags
  if (tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return undefined
  if (tlsCa === undefined || tlsCert === undefined || tlsKey === undefined) {
    const why = '--tls-ca, --tls-cert and --tls-key belong together'
    throw new StoreError('CONFIG_INVALID', why)
  }
  return {
    ca: await readPem(disk, '--tls-ca', tlsCa),
    cert: await readPem(disk, '--tls-cert', tlsCert),
    key: await readPem(disk, '--tls-key', tlsKey),
  }
}

/** @throws {StoreError} CONFIG_INVALID: it cannot be read; names the flag. */
export async function readPem(disk: Disk, flag: string, path: string): Promise<Buffer> {
  try {
    return await readFile(disk, path, PEM_MAX_BYTES)
  } catch (cause) {
    throw new StoreError('CONFIG_INVALID', `${flag}: ${path} cannot be read`, { cause })
  }
}
