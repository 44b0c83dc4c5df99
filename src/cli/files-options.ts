import type { Command } from 'commander'
import { invalidSetting } from './setting-values.ts'
import { addTlsOptions, type TlsFlags } from './tls-options.ts'

export interface FilesFlags extends TlsFlags {
  readonly user: string
  readonly gateway: string
  readonly accessKey?: string
  readonly secretKey?: string
  readonly keyFile?: string
}

export const FILES_PORT = 18_333

const ADDRESS = /^(\[[0-9a-f:.]+\]|[^:\s/]+)(?::(\d{1,5}))?$/i

export function addFilesOptions(command: Command): Command {
  command
    .option('--user <name>', 'whose files; the user of the key unless given', '')
    .option('--gateway <address>', 'host:port of its gRPC', `127.0.0.1:${FILES_PORT}`)
    .option('--access-key <id>', 'of the user, or of the root user')
    .option('--secret-key <secret>', 'its secret; better in the environment than here')
    .option('--key-file <file>', 'both as JSON, like s3-root.json in the directory of a master')
  return addTlsOptions(command)
}

/** @throws {StoreError} CONFIG_INVALID */
export function readGateway(text: string): string {
  const [, host = '', portText] = ADDRESS.exec(text) ?? []
  const port = portText === undefined ? FILES_PORT : Number(portText)
  if (host !== '' && port > 0 && port <= 0xffff) return `${host}:${port}`
  throw invalidSetting('--gateway', text, `it must be an address like 10.0.0.7:${FILES_PORT}`)
}
