import type { ErasureScheme } from '../../src/base/erasure-scheme.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { KIB } from '../../src/base/units.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type { ShardPlace } from '../../src/net/stripe-facts.ts'
import type { VolumeApi } from '../../src/net/volume-api.ts'
import { Prng } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import type { FakeMaster } from './fake-master.ts'
import { collect, fid, LocalCluster, LocalNode } from './local-node.ts'

export const RUN = '1700000000000000001'
/** One codec unit; large ones are left out of most tests. */
export const SMALL_BLOCK = 128 * KIB

export const encodeCommand = (scheme: ErasureScheme, runId = RUN) => ({
  epoch: 1,
  volumeId: vid(3),
  runId,
  ...scheme,
  largeBlockBytes: 2 * SMALL_BLOCK,
  smallBlockBytes: SMALL_BLOCK,
  politeness: 0,
})

export const copyCommand = (shards: readonly number[], source: NodeLocation, runId = RUN) => ({
  epoch: 1,
  volumeId: vid(3),
  runId,
  collection: '',
  shards,
  source,
  politeness: 0,
})

export const shardCommand = (shards: readonly number[], runId = RUN) => ({
  epoch: 1,
  volumeId: vid(3),
  runId,
  shards,
})

/** Sizes around those that matter: pieces, blocks, what is answered whole. */
export const SIZES = [1, 100, 5_000, 70_000, 131_072, 300_000, 1_048_000, 1_048_577, 2_500_000]

export function dataOf(needle: number): Buffer {
  return new Prng(needle).bytes(SIZES[(needle - 1) % SIZES.length] ?? 1)
}

/** Puts needles 1 to `count` into volume 3, and deletes every tenth. */
export async function fillVolume(api: VolumeApi, count: number): Promise<void> {
  const allocation = {
    epoch: 1,
    volumeId: vid(3),
    collection: '',
    replication: parseReplicaPlacement('000'),
    ttl: TTL_NONE,
  }
  await api.allocateVolume(allocation, SIGNAL)
  for (let needle = 1; needle <= count; needle++) {
    const metadata = {
      name: `file ${needle}.txt`,
      mime: 'text/plain',
      lastModifiedS: 1_600_000_000,
    }
    const request = { fileId: fid(3, needle), data: dataOf(needle), metadata, writeToken: '' }
    await api.put({ ...request, isReplica: false }, SIGNAL)
  }
  for (let needle = 10; needle <= count; needle += 10) {
    await api.delete({ fileId: fid(3, needle), writeToken: '', isReplica: false }, SIGNAL)
  }
}

interface Member {
  readonly api: VolumeApi
  readonly location: NodeLocation
}

/** Codes volume 3 of the first, spreads its shards over all, and tells the master. */
export async function codeVolume(
  members: readonly Member[],
  master: FakeMaster,
  scheme: ErasureScheme,
): Promise<readonly ShardPlace[]> {
  const [first, ...others] = members
  if (first === undefined) throw new Error('no member')
  await collect(first.api.shards.encodeVolume(encodeCommand(scheme), SIGNAL))
  const places: ShardPlace[] = []
  for (let shard = 0; shard < scheme.dataShards + scheme.parityShards; shard++) {
    const member = members[shard % members.length]
    if (member !== undefined) places.push({ shard, location: member.location })
  }
  for (const { api, location } of others) {
    const shards = places.filter((place) => place.location === location).map(({ shard }) => shard)
    await collect(api.shards.copyShards(copyCommand(shards, first.location), SIGNAL))
    await first.api.shards.deleteShards(shardCommand(shards), SIGNAL)
  }
  commitStripe(master, scheme, places)
  await first.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
  return places
}

export function commitStripe(
  master: FakeMaster,
  scheme: ErasureScheme,
  shards: readonly ShardPlace[],
  runId = RUN,
): void {
  master.stripes.set(vid(3), { ...scheme, runId, shards })
}

export const THREE_AND_TWO: ErasureScheme = { dataShards: 3, parityShards: 2 }

/** Servers in one process with shards of volume 3, in the order of the shards. */
export class CodedNodes implements AsyncDisposable {
  readonly cluster = new LocalCluster()
  readonly nodes: LocalNode[] = []
  places: readonly ShardPlace[] = []

  static async open(
    options: {
      readonly nodeCount?: number
      readonly needleCount?: number
      readonly scheme?: ErasureScheme
      readonly directories?: readonly string[]
    } = {},
  ): Promise<CodedNodes> {
    const {
      nodeCount = 5,
      needleCount = 12,
      scheme = THREE_AND_TWO,
      directories = ['/a'],
    } = options
    const coded = new CodedNodes()
    for (let port = 1; port <= nodeCount; port++) {
      coded.nodes.push(await LocalNode.open(coded.cluster, port, { directories }))
    }
    await fillVolume(coded.at(1).api, needleCount)
    coded.places = await codeVolume(coded.nodes, coded.cluster.master, scheme)
    for (const node of coded.nodes) node.opened.locations.expire(vid(3))
    return coded
  }

  at(port: number): LocalNode {
    const node = this.nodes[port - 1]
    if (node === undefined) throw new Error(`no node ${port}`)
    return node
  }

  /** Out of reach of the others from now on; the master has not noticed. */
  isolate(port: number): void {
    this.cluster.nodes.delete(this.at(port).location.url)
  }

  mend(port: number): void {
    this.cluster.nodes.set(this.at(port).location.url, this.at(port).api)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node[Symbol.asyncDispose]()
  }
}

export async function readBytes(
  api: VolumeApi,
  needle: number,
  range?: { readonly start: number; readonly end: number },
): Promise<Buffer> {
  const request = { fileId: fid(3, needle), range, readDeleted: false, readToken: '' }
  await using content = await api.read(request, SIGNAL)
  return Buffer.concat(await collect(content.data))
}
