import type { VolumeId } from '../../src/base/ids.ts'
import { needleIdToBigInt } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { JobPhase } from '../../src/jobs/job.ts'
import type {
  DirtyNeedle,
  JobKind,
  JobsApi,
  JobTarget,
  MembersChange,
  VacuumNote,
  VolumeCopyFacts,
  VolumeFacts,
} from '../../src/net/jobs-api.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { LocalCluster, LocalNode, nodeAt } from '../volume/local-node.ts'
import { viewOf } from './model-session.ts'
import { attemptJob } from './real-job.ts'

const VOLUME = 7

interface Member {
  readonly url: string
  readonly directoryId: string
  revisionMin: number
}

/**
 * Real volume servers in one process, on simulated disks, with one volume, and just enough of a
 * master for jobs about it.
 */
export class RealNodes implements AsyncDisposable {
  readonly cluster = new LocalCluster()
  readonly nodes = new Map<string, LocalNode>()
  readonly down = new Set<string>()
  readonly scrubbed: number[] = []
  readonly queued: string[] = []
  members: Member[] = []
  setVersion = 1
  cursor = ''
  replication = '001'
  #resolved = new Set<unknown>()

  static async open(count: number, replication: string, memberCount: number): Promise<RealNodes> {
    const real = new RealNodes()
    real.replication = replication
    for (let port = 1; port <= count; port++) {
      const node = new LocalNode(real.cluster, port)
      await node.disk.createDirectory('/a')
      await using uuid = await node.disk.open('/a/vol_dir.uuid', 'create')
      const text = `00000000-0000-4000-8000-00000000000${port}`
      await uuid.writev([Buffer.from(text)], 0)
      await uuid.datasync()
      await node.disk.syncDirectory('/a')
      await node.open()
      real.nodes.set(nodeAt(port).url, node)
      if (port > memberCount) continue
      await node.allocate(VOLUME, replication)
      const { directoryId } = await node.api.volumeStatus(vid(VOLUME), SIGNAL)
      real.members.push({ url: nodeAt(port).url, directoryId, revisionMin: 0 })
    }
    real.#publish()
    return real
  }

  at(port: number): LocalNode {
    const node = this.nodes.get(nodeAt(port).url)
    if (node === undefined) throw new Error(`no node ${port}`)
    return node
  }

  /** The server is gone for good. */
  lose(port: number): void {
    this.down.add(nodeAt(port).url)
    this.cluster.nodes.delete(nodeAt(port).url)
    this.#publish()
  }

  get memberNodes(): readonly LocalNode[] {
    return this.members.flatMap(({ url }) => {
      const node = this.nodes.get(url)
      return node === undefined || this.down.has(url) ? [] : [node]
    })
  }

  /** Runs a job; its worker dies where `isDeadAt` says so. True: it came to its end. */
  async run(
    kind: JobKind,
    target: JobTarget = {},
    isDeadAt: (phase: JobPhase) => boolean = () => false,
  ): Promise<boolean> {
    const { clock, connect } = this.cluster
    const request = { kind, target: { volumeId: vid(VOLUME), ...target }, cursor: this.cursor }
    const parts = { jobs: this.#jobs, connect, clock }
    const { outcome, error, cursor } = await attemptJob(parts, { ...request, isDeadAt })
    if (outcome === 'failed') throw error
    this.cursor = cursor
    return outcome === 'done'
  }

  async facts(): Promise<VolumeFacts> {
    const members = await Promise.all(this.members.map((member) => this.#memberFacts(member)))
    const strays: VolumeCopyFacts[] = []
    for (const [url, node] of this.nodes) {
      if (this.down.has(url)) continue
      const report = node.opened.reports.all().find(({ volumeId }) => volumeId === VOLUME)
      if (report === undefined) continue
      const { directoryId, compactionRevision } = report
      const member = this.members.find((one) => one.directoryId === directoryId)
      if (member !== undefined && compactionRevision >= member.revisionMin) continue
      strays.push({ location: node.location, report, isUp: true, directoryId, isLost: false })
    }
    return {
      volumeId: vid(VOLUME),
      collection: '',
      replication: parseReplicaPlacement(this.replication),
      ttl: TTL_NONE,
      writePolicy: this.cluster.master.writePolicy,
      setVersion: this.setVersion,
      members,
      strays,
      isDeleted: false,
      dirtyCount: this.#dirty().length,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes.values()) await node[Symbol.asyncDispose]()
  }

  async #memberFacts(member: Member): Promise<VolumeCopyFacts> {
    const node = this.nodes.get(member.url)
    if (node === undefined) throw new Error(`no node ${member.url}`)
    const isUp = !this.down.has(member.url)
    const all = isUp ? node.opened.reports.all() : []
    const report = all.find(({ directoryId }) => directoryId === member.directoryId)
    const { directoryId } = member
    return { location: node.location, report, isUp, directoryId, isLost: report === undefined }
  }

  #dirty(): readonly DirtyNeedle[] {
    const needles = new Map<string, DirtyNeedle>()
    for (const record of this.cluster.master.dirty) {
      if (this.#resolved.has(record)) continue
      const key = needleIdToBigInt(record.needleId).toString()
      const isDelete = record.kind === 'delete' || needles.get(key)?.kind === 'delete'
      const kind = isDelete ? 'delete' : record.kind
      needles.set(key, { needleId: record.needleId, kind, recordedAtMs: 0 })
    }
    return [...needles.values()].sort((a, b) => a.needleId.lo - b.needleId.lo)
  }

  #publish(): void {
    const { known } = this.cluster.master
    known.set(
      vid(VOLUME),
      this.memberNodes.map(({ location }) => location),
    )
  }

  get #jobs(): JobsApi {
    const calls: Partial<JobsApi> = {
      volumeFacts: () => this.facts(),
      chooseTarget: async ({ excluded }) => {
        const used = await this.facts()
        const taken = [...used.members, ...used.strays].map(({ location }) => location.url)
        const free = [...this.nodes.keys()].find(
          (url) => !taken.includes(url) && !excluded.includes(url) && !this.down.has(url),
        )
        const node = this.nodes.get(free ?? '')
        if (node === undefined) throw new StoreError('PLACEMENT_IMPOSSIBLE', 'none is left')
        return node.location
      },
      changeMembers: async (change: MembersChange) => {
        if (change.setVersion !== this.setVersion) throw new StoreError('METADATA_CONFLICT', '')
        this.members = [
          ...this.members.filter(({ directoryId: id }) => !change.removeDirectoryIds.includes(id)),
          ...change.add.map((member) => ({ ...member, revisionMin: 0 })),
        ]
        this.setVersion++
        this.#publish()
        return await this.facts()
      },
      listDirty: async ({ after }) =>
        this.#dirty().filter(({ needleId }) => after === undefined || needleId.lo > after.lo),
      resolveDirty: async (_volumeId: VolumeId, needles) => {
        const ids = new Set(needles.map(({ needleId }) => needleId.lo))
        for (const record of this.cluster.master.dirty) {
          if (ids.has(record.needleId.lo)) this.#resolved.add(record)
        }
      },
      noteVacuum: async (note: VacuumNote) => {
        const member = this.members.find((one) => one.directoryId === note.directoryId)
        if (member !== undefined) member.revisionMin = note.compactionRevision
      },
      noteScrub: async ({ damageCount }) => {
        this.scrubbed.push(damageCount)
      },
      runJob: async (request) => {
        this.queued.push(request.kind)
        return viewOf(9, request)
      },
      listJobs: async () => [],
    }
    return calls as JobsApi
  }
}
