import { parseErasureScheme } from '../../src/base/erasure-scheme.ts'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { CodedFacts } from '../../src/master/assess-stripe.ts'
import type { Steadiness } from '../../src/master/placement-servers.ts'
import type { RepairNode, RepairView } from '../../src/master/repair-view.ts'
import type { ShardServer } from '../../src/master/shard-placement.ts'
import type { VolumeCopyFacts, VolumeFacts } from '../../src/net/jobs-api.ts'
import type { NodeLocation, VolumeReport } from '../../src/net/master-api.ts'
import type { ShardFacts, ShardReport } from '../../src/net/stripe-facts.ts'
import { EMPTY_SHARDS } from './fake-volume-server.ts'

/** `dc1/r2/a:1` stands in the rack r2 of the centre dc1; of plain `a:1` both are the first. */
export function placeOf(text: string): NodeLocation {
  const [url = text, rack = 'r1', dataCenter = 'dc1'] = text.split('/').reverse()
  return { url, publicUrl: url, grpcAddress: `grpc-${url}`, dataCenter, rack }
}

export interface CopyOptions extends Partial<Omit<VolumeCopyFacts, 'report' | 'location'>> {
  /** `none`: the server does not report it. */
  readonly report?: Partial<VolumeReport> | 'none'
}

/** A healthy copy, but for what is said. Its directory is named after its server. */
export function copyAt(place: string, options: CopyOptions = {}): VolumeCopyFacts {
  const location = placeOf(place)
  const { isUp = true, isLost = false, directoryId = `disk-${location.url}` } = options
  const given = options.report
  const report = given === 'none' ? undefined : { ...REPORT, directoryId, ...given }
  return { location, report, isUp, directoryId, isLost }
}

/** The server is down, for now. */
export function awayAt(place: string, options: CopyOptions = {}): VolumeCopyFacts {
  return copyAt(place, { isUp: false, ...options })
}

/** The server has been down for too long. */
export function lostAt(place: string, options: CopyOptions = {}): VolumeCopyFacts {
  return copyAt(place, { isUp: false, isLost: true, ...options })
}

export function factsOf(
  id: number,
  members: readonly VolumeCopyFacts[],
  options: Partial<Omit<VolumeFacts, 'replication'>> & { readonly replication?: string } = {},
): VolumeFacts {
  const { replication: text = '001', ...more } = options
  const replication = parseReplicaPlacement(text)
  const own = (report: VolumeReport) =>
    report.replication === REPORT.replication ? replication : report.replication
  return {
    volumeId: volumeId(id),
    collection: '',
    ttl: TTL_NONE,
    writePolicy: 'all',
    setVersion: 1,
    members: members.map((copy) => ({
      ...copy,
      // Unless the test says otherwise, a copy says what the volume shall have.
      report: copy.report && {
        ...copy.report,
        volumeId: volumeId(id),
        replication: own(copy.report),
      },
    })),
    strays: [],
    isDeleted: false,
    dirtyCount: 0,
    replication,
    ...more,
  }
}

export interface ShardOptions extends Partial<Omit<ShardFacts, 'shard' | 'report' | 'location'>> {
  /** `none`: nobody reports it. */
  readonly report?: Partial<ShardReport> | 'none'
}

/** A place like those of `placeOf`, and what is not as it should be with the shard there. */
export type ShardSpec = string | readonly [place: string, options: ShardOptions]

/** A stripe of good shards, in their order, but for what is said. */
export function codedFactsOf(
  id: number,
  scheme: string,
  specs: readonly ShardSpec[],
  options: Parameters<typeof factsOf>[2] = {},
): CodedFacts {
  const { dataShards, parityShards } = parseErasureScheme(scheme)
  const { runId } = EMPTY_SHARDS
  const shards = specs.map((spec, shard): ShardFacts => {
    const [place, more] = typeof spec === 'string' ? [spec, {}] : spec
    const location = placeOf(place)
    const { isUp = true, isLost = false, isBad = false } = more
    const { directoryId = `disk-${location.url}` } = more
    const whole = { volumeId: volumeId(id), dataShards, parityShards, directoryId }
    const report =
      more.report === 'none' ? undefined : { ...EMPTY_SHARDS, ...whole, ...more.report }
    return { shard, location, directoryId, report, isUp, isLost, isBad }
  })
  const stripe = { runId, dataShards, parityShards, shards }
  return { ...factsOf(id, [], { replication: '001', ...options }), stripe }
}

export const REPORT: VolumeReport = {
  volumeId: volumeId(1),
  collection: '',
  replication: parseReplicaPlacement('001'),
  ttl: TTL_NONE,
  state: 'writable',
  reason: '',
  liveNeedles: 10,
  liveBytes: 1000,
  garbageBytes: 0,
  datBytes: 1200,
  compactionRevision: 0,
  directoryId: '',
  modifiedAtS: 1_704_067_200,
  digest: '00112233aabbccdd',
  requestsPerS: 0,
}

/** A cluster that is what the test says it is. */
export class FakeRepairView implements RepairView {
  readonly volumes = new Map<number, VolumeFacts>()
  readonly nodesByUrl = new Map<string, RepairNode>()
  readonly cuts = new Set<string>()
  isMass = false

  addNode(place: string, options: Partial<RepairNode> = {}): void {
    const location = placeOf(place)
    this.nodesByUrl.set(location.url, {
      location,
      isUp: true,
      isSpared: false,
      isDraining: false,
      hasMembers: true,
      lastHeardMs: 0,
      downForMs: 0,
      usedBytes: 0,
      roomBytes: 1_000_000,
      requestsPerS: 0,
      ...options,
    })
  }

  put(facts: VolumeFacts): void {
    this.volumes.set(facts.volumeId, facts)
  }

  nodes(): readonly RepairNode[] {
    return [...this.nodesByUrl.values()]
  }

  isMassGone(): boolean {
    return this.isMass
  }

  facts(id: number): VolumeFacts | undefined {
    return this.volumes.get(id)
  }

  allFacts(): Iterable<VolumeFacts> {
    return this.volumes.values()
  }

  servers(bytes: number, steadiness: Steadiness) {
    return this.#takers(steadiness).map(({ location, roomBytes }) => ({
      location,
      roomBytes: roomBytes >= bytes ? roomBytes : 0,
      load: 0,
    }))
  }

  shardServers(steadiness: Steadiness): ShardServer[] {
    return this.#takers(steadiness).map(({ location, roomBytes }) => {
      return { location, diskRoomsBytes: [roomBytes], load: 0 }
    })
  }

  #takers(steadiness: Steadiness): readonly RepairNode[] {
    const isMeant = ({ isSpared }: RepairNode) => steadiness === 'any' || !isSpared
    return this.nodes().filter((node) => node.isUp && !node.isDraining && isMeant(node))
  }

  isCut(url: string, otherUrl: string): boolean {
    return this.cuts.has(`${url} ${otherUrl}`)
  }
}
