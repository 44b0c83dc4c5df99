import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ShardBlock, VerifyProgress, VerifyShardsCommand } from '../net/shard-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import { Rest } from './rest.ts'

const REPORT_EVERY_MS = 200

/**
 * Compares blocks of shards with their checksums. A shard that goes meanwhile is passed over.
 *
 * @throws {StoreError} REQUEST_INVALID, CANCELLED, CLOSED.
 */
export async function* verifyShards(
  parts: { readonly clock: Clock },
  sets: readonly [ShardSet, ...ShardSet[]],
  command: VerifyShardsCommand,
  signal: AbortSignal,
): AsyncGenerator<VerifyProgress, void, undefined> {
  const { clock } = parts
  const rest = new Rest(parts, command.politeness, signal)
  const { checksums, geometry } = sets[0]
  const wanted = sets.flatMap((set) =>
    set.shards
      .filter((shard) => command.shards.length === 0 || command.shards.includes(shard))
      .map((shard) => ({ set, shard })),
  )
  const blockCount = Math.ceil(geometry.shardBytes / checksums.blockBytes)
  const totalBytes = wanted.length * geometry.shardBytes
  const scratch = Buffer.allocUnsafeSlow(checksums.blockBytes)
  let badBlocks: ShardBlock[] = []
  let toldMs = clock.monotonicMs()
  for (const [index, { set, shard }] of wanted.entries()) {
    for (let block = 0; block < blockCount && set.has(shard); block++) {
      if (signal.aborted) throw cancelledError(signal, 'while comparing shards')
      if (!(await isGood(set, { shard, block }, scratch))) badBlocks.push({ shard, block })
      await rest.sinceLast()
      if (clock.monotonicMs() - toldMs < REPORT_EVERY_MS) continue
      const doneBytes = index * geometry.shardBytes + block * checksums.blockBytes
      yield { doneBytes, totalBytes, isDone: false, badBlocks }
      badBlocks = []
      toldMs = clock.monotonicMs()
    }
  }
  yield { doneBytes: totalBytes, totalBytes, isDone: true, badBlocks }
}

/** True also when the shard has gone. */
async function isGood(
  set: ShardSet,
  { shard, block }: ShardBlock,
  scratch: Buffer,
): Promise<boolean> {
  try {
    return await set.verifyBlock(shard, block, scratch)
  } catch (error) {
    if (isStoreError(error, 'SHARD_NOT_FOUND')) return true
    throw error
  }
}

/**
 * What lies beside the shards is known in memory, and written anew where it is damaged.
 *
 * @throws {StoreError} INDEX_CORRUPT: something stays damaged. DISK_FULL, DISK_FAILED.
 */
export async function renewFiles(set: ShardSet, logger: Logger): Promise<void> {
  const damage = await set.findDamage()
  if (damage.length === 0) return
  const { directory } = set
  logger.error('shards.files_damaged', { directory, damage: damage.join('; ') })
  await set.renewFiles()
  const left = await set.findDamage()
  if (left.length === 0) return
  throw new StoreError('INDEX_CORRUPT', `${directory}: ${left.join('; ')}`)
}
