import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { parseTtl } from '../../src/base/ttl.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import { ModelCluster, type ModelVolume } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'

const URLS = ['a', 'b', 'c', 'd', 'e']
export const NEEDLES = 20
const DELETED = 5
const SCHEME = { dataShards: 2, parityShards: 1 }

export interface Scene {
  readonly cluster: ModelCluster
  readonly volume: ModelVolume
  readonly target: JobTarget
  /** Needles that are to be there in the end; those below are deleted. */
  readonly promised: Map<number, number>
  /** Why the job has not done what it is for; undefined: it has. */
  readonly unmet: () => string | undefined
}

function build(replication: string, urls: readonly string[], ttl = ''): Omit<Scene, 'unmet'> {
  const cluster = new ModelCluster()
  for (const url of URLS) cluster.addNode(url)
  const volume = cluster.addVolume(7, replication, urls, parseTtl(ttl))
  const promised = new Map<number, number>()
  for (let needle = 1; needle <= NEEDLES; needle++) {
    const content = cluster.newContent()
    for (const url of urls)
      copyAt(cluster, volume, url).put(needle, content, needle, stamp(cluster))
    promised.set(needle, content)
  }
  for (let needle = 1; needle <= DELETED; needle++) {
    for (const url of urls) copyAt(cluster, volume, url).delete(needle, stamp(cluster))
    promised.delete(needle)
  }
  return { cluster, volume, target: { volumeId: volume.volumeId }, promised }
}

function copyAt(cluster: ModelCluster, volume: ModelVolume, url: string): ModelCopy {
  const copy = cluster.node(url).copies.get(volume.volumeId)
  if (copy === undefined) throw new Error(`no copy at ${url}`)
  return copy
}

function stamp(cluster: ModelCluster): bigint {
  return cluster.clock.stampNs()
}

/** Of volumes: the healer works on objects. */
export type VolumeKind = Exclude<JobKind, 'heal'>

/** For each kind of job a volume that makes it pass all its phases. */
export const SCENES: Readonly<Record<VolumeKind, () => Scene>> = {
  'replica-repair': () => {
    const scene = build('002', ['a', 'b', 'c'])
    const { cluster, volume } = scene
    // One copy is damaged, one missed a put, another one a delete.
    copyAt(cluster, volume, 'b').put(21, 499, 3, stamp(cluster))
    copyAt(cluster, volume, 'a').put(21, 500, 3, stamp(cluster))
    copyAt(cluster, volume, 'c').put(21, 500, 3, stamp(cluster))
    cluster.recordDirty(volume, 21, 'put')
    scene.promised.set(21, 500)
    copyAt(cluster, volume, 'b').delete(20, stamp(cluster))
    scene.promised.delete(20)
    copyAt(cluster, volume, 'c').state = 'damaged'
    return { ...scene, unmet: () => cluster.fault(volume) }
  },
  move: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () =>
      volume.members.some(({ url }) => url === 'a') ? 'not moved' : cluster.fault(volume)
    return { ...scene, target: { ...scene.target, node: 'a', toNode: 'd' }, unmet }
  },
  rebalance: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () =>
      volume.members.some(({ url }) => url === 'a') ? 'not moved' : cluster.fault(volume)
    return { ...scene, target: { node: 'a' }, unmet }
  },
  evacuate: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () =>
      volume.members.some(({ url }) => url === 'b') ? 'not moved' : cluster.fault(volume)
    return { ...scene, target: { node: 'b' }, unmet }
  },
  vacuum: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () => {
      const isNoted = volume.members.every(({ revisionMin }) => revisionMin > 0)
      if (!isNoted) return 'not noted'
      const copies = ['a', 'b'].map((url) => copyAt(cluster, volume, url))
      const isClean = copies.every(({ records }) => records.length === NEEDLES - DELETED)
      return isClean ? cluster.fault(volume) : 'garbage is left'
    }
    return { ...scene, unmet }
  },
  scrub: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    for (const [url, needle] of [
      ['a', 9],
      ['b', 2],
      ['b', 12],
    ] as const) {
      const record = copyAt(cluster, volume, url).records.find((one) => one.needle === needle)
      if (record !== undefined) record.isCorrupt = true
    }
    const unmet = () => {
      const copies = ['a', 'b'].map((url) => copyAt(cluster, volume, url))
      const isGood = copies.every(({ records }) => records.every(({ isCorrupt }) => !isCorrupt))
      const noted = new Set(cluster.scrubNotes.map(({ directoryId }) => directoryId))
      if (!isGood || noted.size !== 2) return 'damage is left, or not noted'
      return cluster.fault(volume)
    }
    return { ...scene, unmet }
  },
  expire: () => {
    const scene = build('001', ['a', 'b'], '3m')
    const { cluster, volume } = scene
    cluster.clock.pass(200_000)
    scene.promised.clear()
    const unmet = () => (volume.isDeleted ? cluster.fault(volume) : 'not deleted')
    return { ...scene, unmet }
  },
  'set-replication': () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const replication = parseReplicaPlacement('000')
    const unmet = () => {
      const copies = ['a', 'b'].map((url) => copyAt(cluster, volume, url))
      const all = [volume, ...copies].every((one) => one.replication.otherServers === 0)
      return all ? undefined : 'not told'
    }
    return { ...scene, target: { collection: 'c', replication }, unmet }
  },
  'ec-encode': () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () => (volume.stripe === undefined ? 'not coded' : cluster.fault(volume))
    return { ...scene, target: { ...scene.target, erasure: SCHEME }, unmet }
  },
  'ec-repair': () => {
    const scene = code(build('001', ['a', 'b']), 2)
    const { cluster, volume } = scene
    // One shard is lost, one is bad, one server missed a delete, and a copy has turned up again.
    cluster.node('c').sets.clear()
    for (const { set, shard } of cluster.liveShards(volume)) if (shard === 1) set.flipped.add(shard)
    cluster.recordDirty(volume, 9, 'check')
    for (const { set, shard } of cluster.liveShards(volume)) {
      if (shard === 0) set.delete(20, cluster.clock.nowMs())
    }
    cluster.recordDirty(volume, 20, 'delete')
    scene.promised.delete(20)
    cluster.makeCopy(volume, 'e', 'e/0').delete(7, stamp(cluster))
    return { ...scene, unmet: () => cluster.fault(volume) }
  },
  'ec-balance': () => {
    const scene = code(build('001', ['a', 'b']))
    const { cluster, volume } = scene
    cluster.drained.add('a')
    const unmet = () => {
      const isLeft = volume.stripe?.shards.every(({ url }) => url !== 'a') === true
      return isLeft ? cluster.fault(volume) : 'not moved'
    }
    return { ...scene, unmet }
  },
  'ec-vacuum': () => {
    const scene = code(build('001', ['a', 'b']))
    const { cluster, volume } = scene
    for (const { set } of cluster.liveShards(volume)) {
      for (const needle of [6, 7, 8]) set.delete(needle, cluster.clock.nowMs())
    }
    for (const needle of [6, 7, 8]) scene.promised.delete(needle)
    const unmet = () => {
      const sets = cluster.liveShards(volume).map(({ set }) => set)
      const isClean = sets.every(({ image, journal }) => {
        return image.needles.size === scene.promised.size && journal.size === 0
      })
      return isClean ? cluster.fault(volume) : 'garbage is left'
    }
    return { ...scene, unmet }
  },
  'ec-decode': () => {
    const scene = code(build('001', ['a', 'b']))
    const { cluster, volume } = scene
    for (const { set } of cluster.liveShards(volume)) set.delete(6, cluster.clock.nowMs())
    scene.promised.delete(6)
    const unmet = () => (volume.stripe === undefined ? cluster.fault(volume) : 'not decoded')
    return { ...scene, unmet }
  },
}

/** Two data shards and some of parity in the place of the copies, from server `a` on. */
function code(scene: Omit<Scene, 'unmet'>, parityShards = 1): Omit<Scene, 'unmet'> {
  const { cluster, volume } = scene
  const runId = String(BigInt(cluster.clock.nowMs()) * 1_000_000n)
  cluster.code(volume, { runId, dataShards: 2, parityShards }, URLS.slice(0, 2 + parityShards))
  return scene
}
