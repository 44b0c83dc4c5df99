import fc from 'fast-check'
import { cookie, needleId } from '../../src/base/ids.ts'
import * as repair from '../../src/net/wire-repair.ts'
import {
  aNeedleId,
  aVolumeId,
  bool,
  command,
  extent,
  maybe,
  node,
  ns,
  politeness,
  type Row,
  replication,
  row,
  text,
  u32,
  u64,
} from './wire-rows.ts'

const digest = fc.constantFrom('0123456789abcdef', 'ffffffffffffffff')
const needleIds = fc.array(aNeedleId, { maxLength: 5 })

/** Messages of volume.proto with which copies are made, compared, and made equal. */
export const REPAIR_ROWS: readonly Row[] = [
  row(
    'DeleteVolumeRequest',
    fc.record({ ...command, expected: maybe(extent) }),
    repair.deleteVolumeToWire,
    repair.deleteVolumeFromWire,
  ),
  row(
    'CopyVolumeRequest',
    fc.record({ ...command, collection: text, source: node, politeness, replacesBad: bool }),
    repair.copyToWire,
    repair.copyFromWire,
  ),
  row(
    'CopyVolumeProgress',
    fc.record({
      copiedBytes: u64,
      totalBytes: u64,
      isDone: bool,
      sourceExtent: maybe(extent),
      directoryId: text,
    }),
    repair.copyProgressToWire,
    repair.copyProgressFromWire,
  ),
  row(
    'VacuumVolumeRequest',
    fc.record({ ...command, dropsTombstones: bool, skipsDamage: bool, politeness }),
    repair.vacuumCommandToWire,
    repair.vacuumCommandFromWire,
  ),
  row(
    'VacuumProgress',
    fc.record({
      phase: fc.constantFrom('copying', 'verifying', 'done'),
      copiedBytes: u64,
      totalBytes: u64,
    }),
    repair.vacuumToWire,
    repair.vacuumFromWire,
  ),
  row(
    'FreezeVolumeRequest',
    fc.record({ ...command, forMs: u32 }),
    repair.freezeToWire,
    repair.freezeFromWire,
  ),
  row(
    'VolumeDigest',
    fc.record({ datBytes: u64, compactionRevision: u32, digest, liveNeedles: u64 }),
    repair.volumeDigestToWire,
    repair.volumeDigestFromWire,
  ),
  row(
    'CatchUpVolumeRequest',
    fc.record({ ...command, source: node, sourceExtent: extent }),
    repair.catchUpToWire,
    repair.catchUpFromWire,
  ),
  row(
    'CatchUpVolumeResponse',
    fc.record({ sourceExtent: extent, recordCount: u64 }),
    repair.catchUpAnswerToWire,
    repair.catchUpAnswerFromWire,
  ),
  row(
    'NeedlePage',
    fc.array(fc.record({ needleId: aNeedleId, sizeBytes: u32, isDeleted: bool })),
    repair.needlePageToWire,
    repair.needlePageFromWire,
  ),
  row(
    'NeedleStat',
    fc.record({
      needleId: aNeedleId,
      state: fc.constantFrom('live', 'deleted', 'absent', 'corrupt'),
      cookie: u32.map(cookie),
      checksum: u32,
      dataBytes: u64,
      attributesHash: u64,
      appendAtNs: ns,
    }),
    repair.needleStatToWire,
    repair.needleStatFromWire,
  ),
  row(
    'HealNeedlesRequest',
    fc.record({ ...command, source: node, needleIds }),
    repair.healToWire,
    repair.healFromWire,
  ),
  row(
    'HealAnswer',
    fc.record({
      needleId: aNeedleId,
      outcome: fc.constantFrom('healed', 'unchanged', 'deleted', 'unavailable'),
    }),
    repair.healAnswerToWire,
    repair.healAnswerFromWire,
  ),
  row(
    'DeleteNeedlesRequest',
    fc.record({ ...command, needleIds }),
    repair.deleteNeedlesToWire,
    repair.deleteNeedlesFromWire,
  ),
  row(
    'ScrubVolumeRequest',
    fc.record({ volumeId: aVolumeId, from: extent, politeness }),
    repair.scrubToWire,
    repair.scrubFromWire,
  ),
  row(
    'ScrubProgress',
    fc.record({
      at: extent,
      totalBytes: u64,
      findings: fc.array(
        fc.record({
          kind: fc.constantFrom('needle', 'block', 'index'),
          needleId: fc.oneof(aNeedleId, fc.constant(needleId(0, 0))),
          offsetBytes: u64,
          message: text,
        }),
        { maxLength: 3, minLength: 1 },
      ),
      isDone: bool,
      contentDigest: fc.oneof(digest, fc.constant('')),
    }),
    repair.scrubProgressToWire,
    repair.scrubProgressFromWire,
  ),
  row(
    'SetVolumeReplicationRequest',
    fc.record({ ...command, replication }),
    repair.setReplicationToWire,
    repair.setReplicationFromWire,
  ),
  row(
    'ScrubFinding',
    fc.record({
      kind: fc.constantFrom('needle', 'block', 'index'),
      needleId: aNeedleId,
      offsetBytes: u64,
      message: text,
    }),
    repair.findingToWire,
    repair.findingFromWire,
  ),
]
