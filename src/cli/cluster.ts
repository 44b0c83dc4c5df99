import { MIB } from '../base/units.ts'
import { connectTo } from '../client/connect.ts'
import { HayloftClient } from '../client/hayloft-client.ts'
import type { JobsApi } from '../net/jobs-api.ts'
import type { MasterApi } from '../net/master-api.ts'
import { RemoteJobs } from '../net/remote-jobs.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { ClusterFlags } from './cluster-options.ts'
import type { CliContext } from './context.ts'
import { readMasterAccess } from './master-access.ts'
import type { NamedContent, NamedStore } from './named-store.ts'

/** Files up to here are exported from memory. */
const WHOLE_MAX_BYTES = MIB

/** A running cluster, reached over the net. */
export interface Cluster extends AsyncDisposable {
  readonly client: HayloftClient
  readonly master: MasterApi
  readonly jobs: JobsApi
}

/**
 * @throws {StoreError} CONFIG_INVALID: an option. UNAVAILABLE, TIMEOUT: no master answers.
 */
export async function openCluster(context: CliContext, flags: ClusterFlags): Promise<Cluster> {
  const { clock, random, logger, signal } = context
  const { channels, cluster } = await readMasterAccess(context, flags)
  await using opening = new DisposeStack()
  const parts = { clock, random, logger }
  const connected = await connectTo(parts, cluster, opening, signal)
  const client = opening.use(HayloftClient.over({ ...parts, ...connected }))
  const jobs = opening.use(await RemoteJobs.open(parts, channels))
  const owned = opening.move()
  const { master } = connected
  return { client, master, jobs, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}

/** The named files of a cluster, as imports and exports want them. */
export function namedStore({ client }: Cluster): NamedStore {
  return {
    async putNamed(name, data, metadata, signal) {
      const { lastModifiedS, mime, pairs } = metadata
      const lastModifiedMs = lastModifiedS === undefined ? undefined : lastModifiedS * 1000
      const options = { name: metadata.name, mime, pairs, lastModifiedMs, signal }
      return (await client.putNamed(name, data, options)).fileId
    },
    listNames: (prefix, signal) => client.listNamed(prefix, { signal }),
    async readFile({ fileId, sizeBytes }, signal): Promise<NamedContent> {
      if (sizeBytes <= WHOLE_MAX_BYTES) {
        // One request instead of two.
        const { pairs, lastModifiedMs, data } = await client.get(fileId, { signal })
        return { pairs, lastModifiedMs, data: oneOf(data) }
      }
      const { pairs, lastModifiedMs } = await client.stat(fileId, { signal })
      return { pairs, lastModifiedMs, data: client.getStream(fileId, { signal }) }
    },
  }
}

async function* oneOf(data: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield data
}
