import type { Command } from 'commander'
import { StoreError } from '../../base/store-error.ts'
import { type Bucket, type BucketQuota, NO_QUOTA } from '../../namespace/bucket-record.ts'
import type { NamespaceApi } from '../../namespace/namespace-api.ts'
import {
  bucketJson,
  bucketLines,
  bucketTable,
  type OwnerNames,
  quotaText,
} from '../bucket-report.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { readCount, readSize } from '../setting-values.ts'

interface BucketFlags extends ClusterFlags {
  readonly json?: boolean
}

interface QuotaFlags extends ClusterFlags {
  readonly bytes?: string
  readonly objects?: string
  readonly none?: boolean
}

const PAGE = 1000
const QUOTA_BOUNDS = { min: 0, max: Number.MAX_SAFE_INTEGER }

export function registerBucket(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const bucket = program
    .command('bucket')
    .description('Buckets of S3, what they hold and may hold.')
  const list = bucket
    .command('list')
    .description('List the buckets of all users.')
    .option('--json', 'one JSON object a line')
  addClusterOptions(list).action(async (flags: BucketFlags) => {
    await listBuckets(context, flags)
    finish(EXIT.done)
  })
  const show = bucket
    .command('show')
    .description('Show a bucket, what it holds, and its quota.')
    .argument('<name>', 'a bucket')
    .option('--json', 'one JSON object')
  addClusterOptions(show).action(async (name: string, flags: BucketFlags) => {
    await showBucket(context, name, flags)
    finish(EXIT.done)
  })
  const quota = bucket
    .command('quota')
    .description(
      'Set what a bucket may hold, all versions and parts counted; what is left out stays.',
    )
    .argument('<name>', 'a bucket')
    .option('--bytes <size>', 'at most so much, like 10GiB')
    .option('--objects <count>', 'at most so many versions')
    .option('--none', 'no quota; not together with the others')
  addClusterOptions(quota).action(async (name: string, flags: QuotaFlags) => {
    await setQuota(context, name, flags)
    finish(EXIT.done)
  })
}

async function listBuckets(context: CliContext, flags: BucketFlags): Promise<void> {
  const { out, signal } = context
  const { openBucketAccess } = await import('../bucket-access.ts')
  await using namespace = await openBucketAccess(context, flags)
  const buckets: Bucket[] = []
  for (let after = ''; ; ) {
    const request = { ownerId: undefined, prefix: '', after, limit: PAGE }
    const page = await namespace.listBuckets(request, signal)
    buckets.push(...page)
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE) break
    after = last.name
  }
  const lines =
    flags.json === true
      ? buckets.map((bucket) => bucketJson(bucket))
      : bucketTable(buckets, await ownerNames(context, flags))
  for (const line of lines) await out.line(line)
}

async function showBucket(context: CliContext, name: string, flags: BucketFlags): Promise<void> {
  const { out, signal } = context
  const { openBucketAccess } = await import('../bucket-access.ts')
  await using namespace = await openBucketAccess(context, flags)
  const bucket = await bucketNamed(namespace, name, signal)
  const usage = await namespace.bucketUsage(bucket, signal)
  if (flags.json === true) return await out.line(bucketJson(bucket, usage))
  const lines = bucketLines(bucket, usage, await ownerNames(context, flags))
  for (const line of lines) await out.line(line)
}

async function setQuota(context: CliContext, name: string, flags: QuotaFlags): Promise<void> {
  const { out, signal } = context
  const wanted = readQuota(flags)
  const { openBucketAccess } = await import('../bucket-access.ts')
  await using namespace = await openBucketAccess(context, flags)
  const bucket = await bucketNamed(namespace, name, signal)
  const quota = { ...bucket.quota, ...wanted }
  const changed = await namespace.changeBucket(bucket, { quota }, signal)
  await out.line(`${name}: ${quotaText(changed)}`)
}

/** @throws {StoreError} CONFIG_INVALID */
function readQuota({ bytes, none, objects }: QuotaFlags): Partial<BucketQuota> {
  const isGiven = bytes !== undefined || objects !== undefined
  if (isGiven === (none === true)) {
    throw new StoreError('CONFIG_INVALID', 'give --bytes, --objects or both; or --none alone')
  }
  if (none === true) return NO_QUOTA
  return {
    ...(bytes !== undefined && { bytesMax: readSize('--bytes', bytes, QUOTA_BOUNDS) }),
    ...(objects !== undefined && { objectsMax: readCount('--objects', objects, QUOTA_BOUNDS) }),
  }
}

/** @throws {StoreError} BUCKET_NOT_FOUND */
async function bucketNamed(
  namespace: NamespaceApi,
  name: string,
  signal: AbortSignal,
): Promise<Bucket> {
  const bucket = await namespace.findBucket(name, signal)
  if (bucket === undefined) throw new StoreError('BUCKET_NOT_FOUND', `there is no bucket ${name}`)
  return bucket
}

async function ownerNames(context: CliContext, flags: ClusterFlags): Promise<OwnerNames> {
  const { openUserAccess } = await import('../user-access.ts')
  await using users = await openUserAccess(context, flags)
  const found = await users.list(context.signal)
  return new Map(found.map(({ canonicalId, name }) => [canonicalId, name]))
}
