import { join } from 'node:path'
import { assert } from '../base/assert.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { type Disk, readFile, replaceFile } from '../runtime/disk.ts'

export const CLUSTER_ID_FILE = 'cluster.id'
/** No cluster has this id: what cannot be read belongs to nobody that we know. */
export const UNREADABLE_CLUSTER_ID = 'unreadable'

const CLUSTER_ID = /^[!-~]{1,64}$/
const FILE_MAX_BYTES = 256

export interface ClusterIdFound {
  /** Empty: the directory belongs to no cluster yet. */
  readonly clusterId: string
  /** Why the file cannot be read as such. */
  readonly problem: StoreError | undefined
}

/**
 * Which cluster a directory belongs to. A file that is no such file is left alone, and the
 * directory counts as that of a stranger: its volumes may be anybody's.
 *
 * @throws {StoreError} DISK_FAILED.
 */
export async function readClusterId(disk: Disk, directory: string): Promise<ClusterIdFound> {
  const path = join(directory, CLUSTER_ID_FILE)
  const stat = await disk.stat(path)
  if (stat === undefined) return { clusterId: '', problem: undefined }
  const isShort = !stat.isDirectory && stat.sizeBytes <= FILE_MAX_BYTES
  const text = isShort ? (await readFile(disk, path, FILE_MAX_BYTES)).toString('utf8').trim() : ''
  if (CLUSTER_ID.test(text)) return { clusterId: text, problem: undefined }
  const why = `${path} names no cluster: ${isShort ? quote(text) : `${stat.sizeBytes} bytes`}`
  const problem = new StoreError('METADATA_CORRUPT', why)
  return { clusterId: UNREADABLE_CLUSTER_ID, problem }
}

/** Durable when it returns. @throws {StoreError} DISK_FULL, DISK_FAILED. */
export async function writeClusterId(
  disk: Disk,
  directory: string,
  clusterId: string,
): Promise<void> {
  assert(CLUSTER_ID.test(clusterId), `cluster id ${quote(clusterId)}`)
  await replaceFile(disk, join(directory, CLUSTER_ID_FILE), Buffer.from(`${clusterId}\n`))
}
