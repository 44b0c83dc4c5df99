import { StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'
import type { UserCredentials } from '../net/files-auth.ts'
import { RemoteFiles } from '../net/remote-files.ts'
import { type Disk, readFile } from '../runtime/disk.ts'
import type { CliContext } from './context.ts'
import { type FilesFlags, readGateway } from './files-options.ts'
import { readTlsKeys } from './tls-options.ts'

/** For a call that is not a stream. */
const TIMEOUT_MS = 60_000
const KEY_FILE_MAX_BYTES = 64 * KIB

/** The files at a gateway. @throws {StoreError} CONFIG_INVALID: an option. */
export async function openFilesAccess(
  context: CliContext,
  flags: FilesFlags,
): Promise<RemoteFiles> {
  const { disk } = context
  const credentials = await readCredentials(disk, flags)
  const tls = await readTlsKeys(disk, flags)
  const address = readGateway(flags.gateway)
  return new RemoteFiles(context, { address, credentials, timeoutMs: TIMEOUT_MS, tls })
}

async function readCredentials(disk: Disk, flags: FilesFlags): Promise<UserCredentials> {
  const { accessKey, keyFile, secretKey } = flags
  if (accessKey !== undefined && secretKey !== undefined) {
    return { accessKeyId: accessKey, secret: secretKey }
  }
  if (accessKey !== undefined || secretKey !== undefined) {
    throw new StoreError('CONFIG_INVALID', '--access-key and --secret-key belong together')
  }
  if (keyFile !== undefined) return await readKeyFile(disk, keyFile)
  const why = 'whose call it is, tell --access-key and --secret-key, or --key-file'
  throw new StoreError('CONFIG_INVALID', why)
}

async function readKeyFile(disk: Disk, path: string): Promise<UserCredentials> {
  let value: unknown
  try {
    value = JSON.parse((await readFile(disk, path, KEY_FILE_MAX_BYTES)).toString('utf8'))
  } catch {
    // Not as the cause: it would show some of what is in the file.
    throw new StoreError('CONFIG_INVALID', `--key-file: ${path} cannot be read as JSON`)
  }
  if (isKey(value)) return { accessKeyId: value.accessKeyId, secret: value.secretAccessKey }
  const why = `--key-file: ${path} does not hold accessKeyId and secretAccessKey`
  throw new StoreError('CONFIG_INVALID', why)
}

function isKey(
  value: unknown,
): value is { readonly accessKeyId: string; readonly secretAccessKey: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'accessKeyId' in value &&
    typeof value.accessKeyId === 'string' &&
    'secretAccessKey' in value &&
    typeof value.secretAccessKey === 'string'
  )
}
