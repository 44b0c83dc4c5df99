import { randomBytes } from 'node:crypto'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ErasureScheme, shardCountOf } from '../../src/base/erasure-scheme.ts'
import type { VolumeId } from '../../src/base/ids.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type { StripeFacts } from '../../src/net/stripe-facts.ts'
import { digestOf, Ledger } from './mixed-load.ts'
import type { Prng } from './prng.ts'
import { copyRealTree } from './real-tree.ts'
import {
  RepairCluster,
  type RepairClusterOptions,
  readOver,
  readTree,
  storeFiles,
} from './repair-cluster.ts'

const NEVER = new AbortController().signal
const AT_ONCE = 16
const WAIT_MS_MAX = 120_000
const RUN = /\.ec-\d+$/
const SHARD = /\.ec(\d\d)$/

/** One file with shards, as it lies on the disk of a server. */
export interface ShardFile {
  readonly path: string
  readonly server: number
  readonly shard: number
}

export interface Bulk {
  readonly fileIds: readonly string[]
  readonly volumeIds: readonly VolumeId[]
  /** Of all shards. */
  readonly codedBytes: number
}

/** A cluster whose volumes, full of real files, are erasure-coded. */
export class CodedCluster {
  readonly cluster: RepairCluster
  readonly ledger = new Ledger()

  private constructor(cluster: RepairCluster) {
    this.cluster = cluster
  }

  static async start(options: RepairClusterOptions, files: number): Promise<CodedCluster> {
    const coded = new CodedCluster(await RepairCluster.start(options))
    const { cluster, ledger } = coded
    try {
      const tree = join(options.directory, 'tree')
      await copyRealTree(tree, files)
      await storeFiles(cluster.client, await readTree(tree), ledger)
      return coded
    } catch (error) {
      await coded[Symbol.asyncDispose]()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]()
  }

  /** Volumes with any of the files. */
  volumeIds(): readonly VolumeId[] {
    return [...new Set([...this.ledger.live.keys()].map(volumeOf))] as VolumeId[]
  }

  async encodeAll(
    erasure: ErasureScheme,
    volumeIds: readonly VolumeId[] = this.volumeIds(),
  ): Promise<void> {
    for (const volumeId of volumeIds) {
      const target = { volumeId, erasure }
      await this.cluster.runJob({ kind: 'ec-encode', target, reason: 'test' })
      const stripe = await this.stripeOf(volumeId)
      if (stripe.shards.length === shardCountOf(erasure)) continue
      throw new Error(`volume ${volumeId} has ${stripe.shards.length} shards`)
    }
  }

  async runEach(
    kind: 'ec-repair' | 'ec-vacuum' | 'ec-decode' | 'scrub',
    volumeIds: readonly VolumeId[] = this.volumeIds(),
  ): Promise<void> {
    for (const volumeId of volumeIds) {
      await this.cluster.runJob({ kind, target: { volumeId }, reason: 'test' })
    }
  }

  async deleteFiles(fileIds: readonly string[]): Promise<void> {
    const left = [...fileIds]
    const remove = async (): Promise<void> => {
      for (let fileId = left.pop(); fileId !== undefined; fileId = left.pop()) {
        this.ledger.beginDelete(fileId)
        await this.cluster.client.delete(fileId)
        this.ledger.deleted.add(fileId)
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, remove))
  }

  /** Files of equal size in volumes of their own, which are coded at once. */
  async storeBulk(count: number, fileBytes: number, erasure: ErasureScheme): Promise<Bulk> {
    const fileIds: string[] = []
    const store = async (): Promise<void> => {
      while (fileIds.length < count) {
        const data = randomBytes(fileBytes)
        const { fileId } = await this.cluster.client.put(data, { collection: 'bulk' })
        fileIds.push(fileId)
        this.ledger.add(fileId, digestOf(data))
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, store))
    const volumeIds = [...new Set(fileIds.map(volumeOf))] as VolumeId[]
    await this.encodeAll(erasure, volumeIds)
    await this.waitWhole()
    let codedBytes = 0
    for (const volumeId of volumeIds) {
      const { shards } = await this.stripeOf(volumeId)
      for (const { report } of shards) codedBytes += report?.shardBytes ?? 0
    }
    return { fileIds, volumeIds, codedBytes }
  }

  async stripeOf(volumeId: VolumeId): Promise<StripeFacts> {
    const { stripe } = await this.cluster.jobs.volumeFacts(volumeId, NEVER)
    if (stripe === undefined) throw new Error(`volume ${volumeId} is not coded`)
    return stripe
  }

  /** Until every shard that counts is there and good, and nothing else is. */
  async waitWhole(): Promise<void> {
    const deadlineMs = Date.now() + WAIT_MS_MAX
    for (;;) {
      const wrong: string[] = []
      for (const volumeId of this.volumeIds()) {
        const facts = await this.cluster.jobs.volumeFacts(volumeId, NEVER)
        const shards = facts.stripe?.shards ?? []
        const good = shards.filter(({ isUp, report, isBad }) => isUp && report && !isBad)
        const strays = facts.strays.length + (facts.strayShards?.length ?? 0)
        const isWhole = good.length === shards.length && shards.length > 0
        if (isWhole && strays === 0 && facts.dirtyCount === 0) continue
        wrong.push(`volume ${volumeId}: ${good.length} of ${shards.length}, ${strays} strays`)
      }
      if (wrong.length === 0) return
      if (Date.now() > deadlineMs) throw new Error(wrong.join('\n'))
      await sleep(300)
    }
  }

  /** Reads every file at a server that has a shard of it and is up: what is wrong, in words. */
  async wrongFiles(prng: Prng): Promise<readonly string[]> {
    const holders = new Map<number, readonly NodeLocation[]>()
    for (const volumeId of this.volumeIds()) {
      const [found] = await this.cluster.master.lookup([volumeId], NEVER)
      holders.set(volumeId, found?.locations ?? [])
    }
    const wrong: string[] = []
    const check = async ([fileId, digest]: readonly [string, string]): Promise<void> => {
      const locations = holders.get(volumeOf(fileId)) ?? []
      const at = locations[prng.below(Math.max(1, locations.length))]
      const { status, data } = await readOver(at?.url ?? 'nowhere', fileId)
      if (status === 200 && digestOf(data) === digest) return
      wrong.push(`${fileId} at ${at?.url}: ${status}, ${data.length} bytes`)
    }
    const all = [...this.ledger.live]
    for (let at = 0; at < all.length; at += AT_ONCE) {
      await Promise.all(all.slice(at, at + AT_ONCE).map(check))
    }
    return wrong
  }

  /** The master has noticed which servers are there. */
  async waitNodes(upCount: number): Promise<void> {
    await this.cluster.waitHealth(
      `${upCount} servers up`,
      (now) => now.nodesUp === upCount && !now.isWarming,
      WAIT_MS_MAX,
    )
  }

  /** Takes servers away while `run` runs. */
  async without(servers: readonly number[], run: () => Promise<void>): Promise<void> {
    const { processes } = this.cluster
    const all = processes?.volumes.length ?? 0
    await Promise.all(servers.map((index) => this.cluster.server(index).kill()))
    await this.waitNodes(all - servers.length)
    await run()
    await Promise.all(servers.map((index) => this.cluster.server(index).restart()))
    await this.waitNodes(all)
  }

  async shardFiles(): Promise<readonly ShardFile[]> {
    const found: ShardFile[] = []
    const count = this.cluster.processes?.volumes.length ?? 0
    for (let server = 0; server < count; server++) {
      const directory = this.cluster.directoryOf(server)
      for (const run of (await readdir(directory)).filter((name) => RUN.test(name))) {
        for (const name of await readdir(join(directory, run))) {
          const shard = SHARD.exec(name)?.[1]
          if (shard === undefined) continue
          found.push({ path: join(directory, run, name), server, shard: Number(shard) })
        }
      }
    }
    return found
  }

  /** Of everything below the directories of all servers. */
  async storedBytes(): Promise<number> {
    let bytes = 0
    const count = this.cluster.processes?.volumes.length ?? 0
    for (let server = 0; server < count; server++) {
      for (const path of await readTree(this.cluster.directoryOf(server))) {
        bytes += (await stat(path)).size
      }
    }
    return bytes
  }
}

export async function digestOfFile(path: string): Promise<string> {
  return digestOf(await readFile(path))
}

/** Flips one bit in random places of these files; how many of each. */
export async function flipShards(
  files: readonly ShardFile[],
  countEach: number,
  prng: Prng,
): Promise<void> {
  for (const { path } of files) {
    const { size } = await stat(path)
    await using handle = await open(path, 'r+')
    const byte = Buffer.alloc(1)
    for (let done = 0; done < countEach; done++) {
      const at = prng.below(size)
      await handle.read(byte, 0, 1, at)
      byte.writeUInt8(byte.readUInt8(0) ^ (1 << prng.below(8)), 0)
      await handle.write(byte, 0, 1, at)
    }
  }
}

function volumeOf(fileId: string): number {
  return Number(fileId.split(',')[0])
}
