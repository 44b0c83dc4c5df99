import { parseTtl } from '../../src/base/ttl.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import { ModelCluster, type ModelVolume } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'
import { type RunOptions, type RunResult, runModelJob } from './model-run.ts'
import type { ModelShardSet } from './model-shards.ts'

export const SCHEME = { dataShards: 2, parityShards: 2 }
export const DONE = { outcome: 'done', error: undefined }
export const NEEDLES = [1, 2, 3, 4, 5, 6]

/** A volume with six needles on some of six servers. */
export class Bench {
  readonly cluster = new ModelCluster()
  readonly volume: ModelVolume

  constructor(replication = '001', urls = 'ab', ttl = '') {
    for (const url of 'abcdef') this.cluster.addNode(url)
    this.volume = this.cluster.addVolume(7, replication, [...urls], parseTtl(ttl))
    for (const needle of NEEDLES) {
      for (const url of urls) {
        this.copy(url).put(needle, 10 + needle, 5, this.cluster.clock.stampNs())
      }
    }
  }

  /** Four shards at `a` to `d`, two of which are enough. */
  static coded(ttl = ''): Bench {
    const bench = new Bench('001', 'ab', ttl)
    const runId = String(BigInt(bench.cluster.clock.nowMs()) * 1_000_000n)
    bench.cluster.code(bench.volume, { runId, ...SCHEME }, [...'abcd'])
    bench.cluster.clock.pass(60_000)
    return bench
  }

  copy(url: string): ModelCopy {
    const copy = this.cluster.node(url).copies.get(this.volume.volumeId)
    if (copy === undefined) throw new Error(`no copy at ${url}`)
    return copy
  }

  set(url: string): ModelShardSet {
    const [set] = this.cluster.node(url).setsOf(this.volume.volumeId)
    if (set === undefined) throw new Error(`no shards at ${url}`)
    return set
  }

  delete(needle: number, urls: string): void {
    for (const url of urls) this.set(url).delete(needle, this.cluster.clock.nowMs())
  }

  down(url: string, isLost: boolean): void {
    Object.assign(this.cluster.node(url), { isUp: false, isDeclaredLost: isLost })
  }

  /** `a0 b1` and the like: where the shards are that count, and are good. */
  get shards(): string {
    const good = this.cluster.goodShards(this.volume)
    return good.map(({ url, shard }) => `${url}${shard}`).join(' ')
  }

  get fault(): string | undefined {
    return this.cluster.fault(this.volume)
  }

  async run(
    kind: JobKind,
    target: JobTarget = {},
    options: Partial<RunOptions> = {},
  ): Promise<RunResult> {
    const { volumeId } = this.volume
    return await runModelJob(this.cluster, kind, { volumeId, ...target }, options)
  }

  async encode(options: Partial<RunOptions> = {}): Promise<RunResult> {
    return await this.run('ec-encode', { erasure: SCHEME }, options)
  }
}

export function failedWith(code: string) {
  return { outcome: 'failed', error: { code } }
}
