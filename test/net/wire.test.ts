import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES, type ErrorCode, isStoreError } from '../../src/base/store-error.ts'
import { messageNamed, PROTO_PACKAGE } from '../../src/net/proto-loading.ts'
import * as facts from '../../src/net/wire-facts.ts'
import * as files from '../../src/net/wire-files.ts'
import { durabilityFromWire } from '../../src/net/wire-health.ts'
import * as jobs from '../../src/net/wire-jobs.ts'
import * as master from '../../src/net/wire-master.ts'
import * as nodes from '../../src/net/wire-node.ts'
import * as repair from '../../src/net/wire-repair.ts'
import * as reports from '../../src/net/wire-reports.ts'
import * as topology from '../../src/net/wire-topology.ts'
import { fromPeer } from '../../src/net/wire-values.ts'
import * as volume from '../../src/net/wire-volume.ts'
import { DURABILITY } from '../support/fake-jobs-api.ts'
import { NODE } from '../support/fake-volume-api.ts'
import { HOSTILE_SHARDS } from '../support/wire-hostile-shards.ts'
import {
  aNeedleId,
  aVolumeId,
  bool,
  bytes,
  command,
  disk,
  disks,
  extent,
  fileId,
  growth,
  locations,
  maybe,
  node,
  ns,
  type Row,
  replication,
  report,
  reported,
  row,
  someText,
  text,
  ttl,
  u32,
  u64,
  volumeIds,
  writePolicy,
} from '../support/wire-rows.ts'
import { FILE_ROWS, HOSTILE_FILES, PLAIN_FILES } from '../support/wire-rows-files.ts'
import { JOB_ROWS } from '../support/wire-rows-jobs.ts'
import {
  HOSTILE_NAMESPACE,
  NAMESPACE_ROWS,
  PLAIN_NAMESPACE,
} from '../support/wire-rows-namespace.ts'
import { REPAIR_ROWS } from '../support/wire-rows-repair.ts'
import { SHARD_ROWS, scheme, shardReports, stripeLocations } from '../support/wire-rows-shards.ts'
import { HOSTILE_USERS, PLAIN_USERS, USER_ROWS } from '../support/wire-rows-users.ts'

const named = { name: text, fileId, dataBytes: u64 }
const statistics = fc.record({
  nodeCount: u32,
  nodesUp: u32,
  volumeCount: u32,
  liveNeedles: u64,
  liveBytes: u64,
  garbageBytes: u64,
  totalBytes: u64,
  freeBytes: u64,
  volumesAtRisk: u32,
})
const collection = fc.record({
  collection: text,
  volumeCount: u32,
  liveNeedles: u64,
  liveBytes: u64,
  datBytes: u64,
  replication: maybe(replication),
  writePolicy,
  erasure: maybe(scheme),
})
const key = someText.filter((name) => !['__proto__'].includes(name))
const metadata = fc.record({
  name: fc.option(someText, { nil: undefined }),
  mime: fc.option(someText, { nil: undefined }),
  lastModifiedS: fc.option(fc.integer({ min: 1, max: 2 ** 40 }), { nil: undefined }),
  ttl: fc.option(
    ttl.filter((value) => value.count > 0),
    { nil: undefined },
  ),
  pairs: fc.dictionary(key, text, { minKeys: 1, maxKeys: 4, noNullPrototype: true }),
  isCompressed: bool,
  isChunkManifest: bool,
})
const put = fc.record({ fileId, data: bytes, metadata, writeToken: text, isReplica: bool })
const deletion = fc.record({ fileId, writeToken: text, isReplica: bool })

const ROWS: readonly Row[] = [
  row('NodeLocation', node, nodes.nodeToWire, nodes.nodeFromWire),
  row(
    'VolumeLocations',
    fc.tuple(locations, maybe(stripeLocations)).map(([known, stripe]) => ({ ...known, stripe })),
    reports.volumeLocationsToWire,
    reports.volumeLocationsFromWire,
  ),
  row('VolumeReport', report, reports.volumeReportToWire, reports.volumeReportFromWire),
  row('DiskReport', disk, reports.diskReportToWire, reports.diskReportFromWire),
  row(
    'AssignRequest',
    fc.record({ ...growth, excludedVolumeIds: volumeIds, dataBytes: u64, key: text }),
    master.assignToWire,
    master.assignFromWire,
  ),
  row(
    'AssignResponse',
    fc.record({
      volumeId: aVolumeId,
      firstNeedleId: aNeedleId,
      count: u32,
      locations: fc.array(node),
      writeToken: text,
      validMs: u32,
    }),
    master.leaseToWire,
    master.leaseFromWire,
  ),
  row('GrowRequest', fc.record(growth), master.growToWire, master.growFromWire),
  row(
    'LocationsUpdate',
    fc.record({
      isSnapshot: bool,
      volumes: fc.array(locations, { maxLength: 3 }),
      removedVolumeIds: volumeIds,
    }),
    master.updateToWire,
    master.updateFromWire,
  ),
  row(
    'HeartbeatRequest',
    fc.record({
      node,
      isFull: bool,
      volumes: reported,
      removedVolumeIds: volumeIds,
      disks,
      highestNeedleId: aNeedleId,
      inFlightCount: u32,
      epoch: u64,
      isLeaving: bool,
      shards: shardReports,
    }),
    master.heartbeatToWire,
    master.heartbeatFromWire,
  ),
  row(
    'HeartbeatResponse',
    fc.record({
      isLeader: bool,
      leader: text,
      epoch: u64,
      intervalMs: u32,
      volumeSizeMaxBytes: u64,
      clusterId: text,
    }),
    master.answerToWire,
    master.answerFromWire,
  ),
  row(
    'Topology',
    fc.record({
      clusterId: text,
      nodes: fc.array(
        fc.record({
          location: node,
          state: fc.constantFrom('up', 'leaving', 'down'),
          lastHeardMs: u64,
          disks,
          volumes: reported,
          inFlightCount: u32,
          downSinceMs: u64,
          isFlapping: bool,
          isDraining: bool,
          shards: shardReports,
        }),
        { maxLength: 3, minLength: 1 },
      ),
      layouts: fc.array(
        fc.record({
          collection: text,
          replication,
          ttl,
          volumeIds,
          writableVolumeIds: volumeIds,
        }),
        { maxLength: 3, minLength: 1 },
      ),
      maxVolumeId: u32,
      volumeSizeMaxBytes: u64,
    }),
    topology.topologyToWire,
    topology.topologyFromWire,
  ),
  row(
    'ConfigureCollectionRequest',
    fc.record({
      collection: text,
      replication: maybe(replication),
      writePolicy: maybe(writePolicy),
      erasure: maybe(fc.oneof(scheme, fc.constant('off' as const))),
    }),
    master.settingsToWire,
    master.settingsFromWire,
  ),
  row(
    'RecordDirtyRequest',
    fc.array(
      fc.record({
        volumeId: aVolumeId,
        needleId: aNeedleId,
        kind: fc.constantFrom('put', 'delete', 'check'),
        reportedBy: text,
        unreached: fc.array(text, { maxLength: 3 }),
      }),
      { maxLength: 5 },
    ),
    master.dirtyRecordsToWire,
    master.dirtyRecordsFromWire,
  ),
  row('CollectionReport', collection, master.collectionToWire, master.collectionFromWire),
  row('Statistics', statistics, master.statisticsToWire, master.statisticsFromWire),
  row(
    'MasterStatus',
    fc.record({
      isLeader: bool,
      leader: text,
      epoch: u64,
      isWarming: bool,
      version: text,
      clusterId: text,
    }),
    master.statusToWire,
    master.statusFromWire,
  ),
  row(
    'NamedFile',
    fc.record({ ...named, modifiedAtMs: u64 }),
    master.namedFileToWire,
    master.namedFileFromWire,
  ),
  row('LinkNameRequest', fc.record(named), master.linkNameToWire, master.linkNameFromWire),
  row(
    'ListNamesRequest',
    fc.record({ prefix: text, after: text, limit: u32 }),
    master.listNamesRequest,
    master.listNamesRequest,
  ),
  row('NeedleMetadata', metadata, volume.metadataToWire, volume.metadataFromWire),
  row('PutOperation', put, volume.putToWire, volume.putFromWire),
  row('DeleteOperation', deletion, volume.deleteToWire, volume.deleteFromWire),
  row(
    'GetRequest',
    fc.record({
      fileId,
      range: fc.option(
        fc.tuple(u32, fc.integer({ min: 1, max: 1000 })).map(([start, length]) => ({
          start,
          end: start + length,
        })),
        { nil: undefined },
      ),
      readDeleted: bool,
      readToken: text,
      isForwarded: bool,
    }),
    volume.readToWire,
    volume.readFromWire,
  ),
  row(
    'AllocateVolumeRequest',
    fc.record({ ...command, collection: text, replication, ttl }),
    volume.allocateToWire,
    volume.allocateFromWire,
  ),
  row('VolumeExtent', extent, volume.extentToWire, volume.extentFromWire),
  row('VolumeCommand', fc.record(command), volume.commandToWire, volume.commandFromWire),
  row(
    'VolumeServerStatus',
    fc.record({
      node,
      version: text,
      epoch: u64,
      disks,
      volumes: reported,
      shards: shardReports,
    }),
    volume.serverStatusToWire,
    volume.serverStatusFromWire,
  ),
  row(
    'VolumeFilePiece',
    fc.record({
      extension: fc.constantFrom('dat', 'idx', 'sum', 'vif'),
      offsetBytes: u64,
      data: bytes,
    }),
    volume.pieceToWire,
    volume.pieceFromWire,
  ),
  row(
    'TailVolumeRequest',
    fc.record({ volumeId: aVolumeId, sinceNs: ns, after: maybe(extent) }),
    volume.tailToWire,
    volume.tailFromWire,
  ),
  row(
    'TailRecord',
    fc.record({
      fileId,
      appendAtNs: ns,
      isTombstone: bool,
      data: bytes,
      dataBytes: u64,
      checksum: u32,
      metadata,
      endBytes: u64,
    }),
    volume.tailRecordToWire,
    volume.tailRecordFromWire,
  ),
  ...REPAIR_ROWS,
  ...JOB_ROWS,
  ...SHARD_ROWS,
  ...USER_ROWS,
  ...FILE_ROWS,
  ...NAMESPACE_ROWS,
]

/** Messages that hold others, or a value or two, and are made where they are used. */
const PLAIN: Readonly<Record<string, readonly string[]>> = {
  LookupRequest: ['volumeIds'],
  LookupResponse: ['volumes'],
  WatchLocationsRequest: [],
  GrowResponse: ['volumeIds'],
  GetTopologyRequest: [],
  TopologyNode: [...fieldsOf('TopologyNode')],
  TopologyLayout: [...fieldsOf('TopologyLayout')],
  ListCollectionsRequest: [],
  ListCollectionsResponse: ['collections'],
  DeleteCollectionRequest: ['collection'],
  DeleteCollectionResponse: [],
  ConfigureCollectionResponse: [],
  DirtyRecord: [...fieldsOf('DirtyRecord')],
  RecordDirtyResponse: [],
  GetStatisticsRequest: [],
  GetStatusRequest: [],
  ResolveNameRequest: ['name'],
  UnlinkNameRequest: ['name'],
  ListNamesResponse: ['files'],
  WriteOperation: ['sequence', 'put', 'delete'],
  WriteRequest: ['operations'],
  WriteResult: [...fieldsOf('WriteResult')],
  WriteResponse: ['results'],
  GetResponse: ['head', 'data'],
  BatchDeleteRequest: ['operations'],
  BatchDeleteResponse: ['results'],
  AllocateVolumeResponse: [],
  VolumeCommandResponse: [],
  GetVolumeStatusRequest: ['volumeId'],
  GetServerStatusRequest: [],
  ReadVolumeFilesRequest: ['isDatApart', 'volumeId'],
  VacuumCheckRequest: ['volumeId'],
  VacuumCheckResponse: ['garbageRatio'],
  DigestVolumeRequest: ['volumeId'],
  ListNeedlesRequest: ['volumeId'],
  StatNeedlesRequest: ['volumeId', 'needleIds'],
  StatNeedlesResponse: ['needles'],
  HealNeedlesResponse: ['answers'],
  JobList: ['jobs'],
  OrderJobRequest: ['jobId', 'order'],
  WatchJobsRequest: [],
  TakeJobResponse: ['lease'],
  ReportJobResponse: ['advice'],
  EndJobResponse: [],
  GetVolumeFactsRequest: ['volumeId'],
  ListVolumesRequest: ['collection'],
  ListVolumesResponse: ['volumeIds'],
  NewMember: ['url', 'directoryId'],
  ShardFacts: [...fieldsOf('ShardFacts')],
  NewShard: ['shard', 'url', 'directoryId'],
  KeptShard: ['shard', 'url'],
  ChooseShardsResponse: ['places'],
  NextShardMoveRequest: ['volumeId'],
  NextShardMoveResponse: ['move'],
  DirtyNeedle: [...fieldsOf('DirtyNeedle')],
  ResolveDirtyRequest: ['volumeId', 'needles'],
  ResolveDirtyResponse: [],
  NoteVacuumResponse: [],
  NoteScrubResponse: [],
  ForgetVolumeResponse: [],
  SetReplicationRequest: ['volumeId', 'replication'],
  SetReplicationResponse: [],
  GetNextMoveRequest: ['kind', 'node'],
  GetNextMoveResponse: ['move'],
  ForgetNodeRequest: ['url'],
  ForgetNodeResponse: [],
  GetHealthRequest: [],
  GetDurabilityRequest: [],
  ShardBlock: ['shard', 'block'],
  GetShardStatusRequest: ['volumeId'],
  GetShardStatusResponse: ['runs'],
  ReadShardResponse: ['data'],
  ...PLAIN_USERS,
  ...PLAIN_FILES,
  ...PLAIN_NAMESPACE,
}

function fieldsOf(message: string): string[] {
  const { type } = messageNamed(message) as unknown as {
    readonly type: { readonly field: readonly { readonly name: string }[] }
  }
  return type.field.map(({ name }) =>
    name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  )
}

function overTheWire(message: string, wire: object): unknown {
  const definition = messageNamed(message)
  return definition.deserialize(Buffer.from(definition.serialize(wire)))
}

describe('the messages', () => {
  test('all have conversions here', () => {
    const names = Object.entries(PROTO_PACKAGE)
      .filter(([, definition]) => 'format' in definition)
      .map(([name]) => name.replace('hayloft.v1.', ''))
    const covered = [...ROWS.map(({ message }) => message), ...Object.keys(PLAIN)]
    expect(covered.sort()).toEqual(names.sort())
  })

  test.each(Object.entries(PLAIN))('%s has the fields that are used', (message, fields) => {
    expect(fieldsOf(message).sort()).toEqual([...fields].sort())
  })

  test.each(ROWS)('$message comes back as it went, every field in use', (found) => {
    fc.assert(
      fc.property(found.values, (value) => {
        const wire = found.toWire(value)
        expect(Object.keys(wire).sort()).toEqual(fieldsOf(found.message).sort())
        expect(found.fromWire(overTheWire(found.message, wire))).toEqual(value)
      }),
      { numRuns: 50 },
    )
  })

  test('a put and a delete result come back as they went', () => {
    const answer = { checksum: 0xffff_fffe, dataBytes: 5, isUnchanged: true, isDurable: true }
    const one = overTheWire('WriteResult', volume.putResultToWire(7, answer)) as volume.WireResult
    expect(one.sequence).toBe(7)
    expect(volume.putAnswerFromWire(one)).toEqual(answer)
    const gone = { wasLive: true, freedBytes: 2 ** 50 }
    const two = overTheWire('WriteResult', volume.deleteResultToWire(2 ** 32 - 1, gone))
    expect((two as volume.WireResult).sequence).toBe(2 ** 32 - 1)
    expect(volume.deleteAnswerFromWire(two as volume.WireResult)).toEqual(gone)
  })

  test.each([
    { head: { user: 'u', name: 'n', contentType: 't', sizeBytes: 0, isOverwrite: true } },
    {
      head: {
        user: '',
        name: 'n',
        contentType: undefined,
        sizeBytes: undefined,
        isOverwrite: false,
      },
    },
    { head: { user: '', name: 'n', contentType: 't', sizeBytes: 2 ** 52, isOverwrite: false } },
    { data: Buffer.alloc(0) },
    { data: Buffer.from('x') },
    { sha256: Buffer.alloc(32, 7) },
  ])('a part of an upload comes back as it went: %j', (part) => {
    const wire = overTheWire('StoreFileRequest', files.storePartToWire(part))
    expect(files.storePartFromWire(wire as files.WireStorePart)).toEqual(part)
  })

  test.each([
    { kind: 'substring' as const, text: '*' },
    { kind: 'glob' as const, text: '' },
  ])('a search comes back as it went: %j', (pattern) => {
    const request = { user: 'u', isOfAll: false, pattern, after: 'u/x', limit: 7 }
    const wire = overTheWire('SearchStoredFilesRequest', files.searchFilesToWire(request))
    expect(files.searchFilesFromWire(wire as files.WireSearchFiles)).toEqual(request)
  })

  test('a needle without metadata sends none, and one with nothing but pairs sends them', () => {
    expect(volume.metadataToWire({})).toBeNull()
    expect(volume.metadataToWire({ name: '', pairs: {}, isCompressed: false })).toBeNull()
    expect(volume.metadataToWire({ pairs: { a: 'b' } })?.pairs).toEqual({ a: 'b' })
  })
})

/** Wire values that no honest peer sends, and what is said of them. */
const HOSTILE: readonly (readonly [string, ErrorCode, () => unknown])[] = [
  ['a volume id of 0', 'REQUEST_INVALID', () => volume.commandFromWire({ epoch: 1, volumeId: 0 })],
  [
    'an epoch of 2^53',
    'REQUEST_INVALID',
    () => volume.commandFromWire({ epoch: 2 ** 53, volumeId: 1 }),
  ],
  [
    'a file id without a cookie',
    'FILE_ID_INVALID',
    () => volume.deleteFromWire({ fileId: '3,01', writeToken: '', isReplica: false }),
  ],
  [
    'a range that ends before it starts',
    'RANGE_INVALID',
    () =>
      volume.readFromWire({
        fileId: '3,01637037d6',
        rangeStart: 5,
        rangeEnd: 4,
        readDeleted: false,
        readToken: '',
        isForwarded: false,
      }),
  ],
  [
    '10,001 deletes at once',
    'REQUEST_INVALID',
    () =>
      volume.batchDeleteFromWire({
        operations: Array.from({ length: 10_001 }, () => ({
          fileId: '3,01637037d6',
          writeToken: '',
          isReplica: false,
        })),
      }),
  ],
  ['a server without a url', 'REQUEST_INVALID', () => nodes.nodeFromWire(null)],
  [
    'a time above 64 bits',
    'REQUEST_INVALID',
    () => volume.tailFromWire({ volumeId: 1, sinceNs: '18446744073709551616', after: null }),
  ],
  [
    'a negative time',
    'REQUEST_INVALID',
    () => volume.tailFromWire({ volumeId: 1, sinceNs: '-1', after: null }),
  ],
  [
    'an extension with a path in it',
    'REQUEST_INVALID',
    () => {
      const piece = { extension: '../x', offsetBytes: 0, data: Buffer.alloc(0), extent: null }
      return volume.pieceFromWire(piece)
    },
  ],
  [
    '10,001 dirty needles at once',
    'REQUEST_INVALID',
    () => {
      const record = { volumeId: 1, needleId: '1', kind: 'put', reportedBy: '', unreached: [] }
      return master.dirtyRecordsFromWire({ records: Array.from({ length: 10_001 }, () => record) })
    },
  ],
  [
    'a policy nobody knows',
    'REQUEST_INVALID',
    () =>
      master.settingsFromWire({
        collection: 'c',
        replication: '',
        writePolicy: 'none',
        erasure: '',
      }),
  ],
  [
    '1,001 needles to heal at once',
    'REQUEST_INVALID',
    () => repair.needleIdsFromWire(Array.from({ length: 1001 }, () => '1')),
  ],
  [
    'a politeness without end',
    'REQUEST_INVALID',
    () =>
      repair.scrubFromWire({
        volumeId: 1,
        from: { datBytes: 0, compactionRevision: 0 },
        politeness: Number.POSITIVE_INFINITY,
      }),
  ],
  [
    'a catch-up without an extent',
    'REQUEST_INVALID',
    () => repair.catchUpFromWire({ epoch: 1, volumeId: 1, source: NODE, sourceExtent: null }),
  ],
  [
    'a digest that is empty, and so like every other',
    'REQUEST_INVALID',
    () =>
      repair.volumeDigestFromWire({
        datBytes: 8,
        compactionRevision: 0,
        digest: '',
        liveNeedles: 1,
      }),
  ],
  [
    'a page of needles with a list too short',
    'REQUEST_INVALID',
    () =>
      repair.needlePageFromWire({
        idHighs: [0, 0],
        idLows: [1, 2],
        sizeBytes: [1],
        isDeleted: [false, false],
      }),
  ],
  [
    'a job of a kind nobody knows',
    'REQUEST_INVALID',
    () => jobs.jobRequestFromWire({ kind: 'format', target: null, reason: '' }),
  ],
  [
    'a cursor of 65,537 bytes',
    'REQUEST_INVALID',
    () =>
      jobs.reportFromWire({
        jobId: 1,
        token: '',
        progress: { phase: '', done: 0, total: 0, unit: 'bytes' },
        cursor: 'x'.repeat(65_537),
      }),
  ],
  [
    '10,001 needles resolved at once',
    'REQUEST_INVALID',
    () => {
      const needle = { needleId: '1', kind: 'put', recordedAtMs: 0 }
      return facts.dirtyNeedlesFromWire({ needles: Array.from({ length: 10_001 }, () => needle) })
    },
  ],
  [
    'a rate that is no number',
    'REQUEST_INVALID',
    () => durabilityFromWire({ ...DURABILITY, ninesCap: Number.NaN }),
  ],
  ...HOSTILE_SHARDS,
  ...HOSTILE_USERS,
  ...HOSTILE_FILES,
  ...HOSTILE_NAMESPACE,
]

describe('what a stranger sends', () => {
  test.each(HOSTILE)('%s is refused with %s', (_, code, convert) => {
    expect(convert).toThrow(expect.objectContaining({ code }))
    const asClient = (): unknown => fromPeer('peer:1', undefined, convert)
    expect(asClient).toThrow(expect.objectContaining({ code: 'PEER_FAILED' }))
  })

  test('any bytes are decoded to something, or refused, and never crash a conversion', () => {
    fc.assert(
      fc.property(fc.constantFrom(...ROWS), fc.uint8Array({ maxLength: 200 }), (found, garbage) => {
        let wire: unknown
        try {
          wire = messageNamed(found.message).deserialize(Buffer.from(garbage))
        } catch {
          return // Not a message; gRPC says so.
        }
        try {
          found.fromWire(wire)
        } catch (error) {
          if (!isStoreError(error)) throw error
        }
      }),
      { numRuns: 3000 },
    )
  })

  test('a result with a code nobody knows is the peer failing', () => {
    const result = { ...volume.failureToWire(1, undefined), errorCode: 'toString' }
    expect(volume.failureFromWire(result)?.code).toBe('PEER_FAILED')
    const known = { ...result, errorCode: 'DISK_FULL' }
    expect(volume.failureFromWire(known)?.code).toBe('DISK_FULL')
    expect(Object.keys(ERROR_CODES)).toContain('DISK_FULL')
  })
})
