import { type Cookie, formatNeedleId, type NeedleId, needleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { formatReplicaPlacement, parseReplicaPlacement } from '../base/replica-placement.ts'
import type {
  CatchUpAnswer,
  CatchUpCommand,
  CopyProgress,
  CopyVolumeCommand,
  DeleteVolumeCommand,
  FreezeCommand,
  HealAnswer,
  HealNeedlesCommand,
  HealOutcome,
  NeedleStat,
  NeedleState,
  NeedleSummary,
  ScrubCommand,
  ScrubFinding,
  ScrubProgress,
  VacuumCommand,
  VacuumPhase,
  VacuumProgress,
  VolumeCommand,
  VolumeDigest,
} from './volume-api.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import {
  digestFromWire,
  invalid,
  wireAtMost,
  wireNanoseconds,
  wireNeedleId,
  wireNumber,
  wirePoliteness,
  wireVolumeId,
  wireWord,
} from './wire-values.ts'
import {
  commandFromWire,
  commandToWire,
  extentFromWire,
  extentToWire,
  someExtentFromWire,
  someExtentToWire,
  type WireCommand,
  type WireExtent,
} from './wire-volume.ts'

/** Messages of volume.proto with which copies are made, compared, and made equal. */

export interface WireDeleteVolume extends WireCommand {
  readonly expected: WireExtent | null
}

export interface WireCopy extends WireCommand {
  readonly collection: string
  readonly source: WireNode | null
  readonly politeness: number
  readonly replacesBad: boolean
}

export interface WireCopyProgress {
  readonly copiedBytes: number
  readonly totalBytes: number
  readonly isDone: boolean
  readonly sourceExtent: WireExtent | null
  readonly directoryId: string
}

export interface WireVacuumCommand extends WireCommand {
  readonly dropsTombstones: boolean
  readonly skipsDamage: boolean
  readonly politeness: number
}

export interface WireVacuum {
  readonly phase: string
  readonly copiedBytes: number
  readonly totalBytes: number
}

export interface WireFreeze extends WireCommand {
  readonly forMs: number
}

export interface WireCatchUp extends WireCommand {
  readonly source: WireNode | null
  readonly sourceExtent: WireExtent | null
}

export interface WireCatchUpAnswer {
  readonly sourceExtent: WireExtent | null
  readonly recordCount: number
}

export interface WireNeedlePage {
  readonly idHighs: readonly number[]
  readonly idLows: readonly number[]
  readonly sizeBytes: readonly number[]
  readonly isDeleted: readonly boolean[]
}

export interface WireNeedleStat {
  readonly needleId: string
  readonly state: string
  readonly cookie: number
  readonly checksum: number
  readonly dataBytes: number
  readonly attributesHash: number
  readonly appendAtNs: string
}

export interface WireHeal extends WireCommand {
  readonly source: WireNode | null
  readonly needleIds: readonly string[]
}

export interface WireHealAnswer {
  readonly needleId: string
  readonly outcome: string
}

export interface WireDeleteNeedles extends WireCommand {
  readonly needleIds: readonly string[]
}

export interface WireScrub {
  readonly volumeId: number
  readonly from: WireExtent | null
  readonly politeness: number
}

export interface WireScrubFinding {
  readonly kind: string
  readonly needleId: string
  readonly offsetBytes: number
  readonly message: string
}

export interface WireScrubProgress {
  readonly at: WireExtent | null
  readonly totalBytes: number
  readonly findings: readonly WireScrubFinding[]
  readonly isDone: boolean
  readonly contentDigest: string
}

export interface WireSetReplication extends WireCommand {
  readonly replication: string
}

const VACUUM_PHASES = ['copying', 'verifying', 'done'] as const satisfies readonly VacuumPhase[]

const NEEDLE_STATES = [
  'live',
  'deleted',
  'absent',
  'corrupt',
] as const satisfies readonly NeedleState[]

const HEAL_OUTCOMES = [
  'healed',
  'unchanged',
  'deleted',
  'unavailable',
] as const satisfies readonly HealOutcome[]

const FINDING_KINDS = [
  'needle',
  'block',
  'index',
] as const satisfies readonly ScrubFinding['kind'][]

export function deleteVolumeToWire(command: DeleteVolumeCommand): WireDeleteVolume {
  return { ...commandToWire(command), expected: someExtentToWire(command.expected) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function deleteVolumeFromWire(wire: WireDeleteVolume): DeleteVolumeCommand {
  return { ...commandFromWire(wire), expected: someExtentFromWire(wire.expected) }
}

export function copyToWire(command: CopyVolumeCommand): WireCopy {
  const { collection, source, politeness, replacesBad } = command
  const common = commandToWire(command)
  return { ...common, collection, source: nodeToWire(source), politeness, replacesBad }
}

/** @throws {StoreError} REQUEST_INVALID */
export function copyFromWire(wire: WireCopy): CopyVolumeCommand {
  return {
    ...commandFromWire(wire),
    collection: wire.collection,
    source: nodeFromWire(wire.source),
    politeness: wirePoliteness(wire.politeness),
    replacesBad: wire.replacesBad,
  }
}

export function copyProgressToWire(progress: CopyProgress): WireCopyProgress {
  const { copiedBytes, totalBytes, isDone, directoryId } = progress
  const sourceExtent = someExtentToWire(progress.sourceExtent)
  return { copiedBytes, totalBytes, isDone, sourceExtent, directoryId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function copyProgressFromWire(wire: WireCopyProgress): CopyProgress {
  return {
    copiedBytes: wireNumber(wire.copiedBytes, 'bytes'),
    totalBytes: wireNumber(wire.totalBytes, 'bytes'),
    isDone: wire.isDone,
    sourceExtent: someExtentFromWire(wire.sourceExtent),
    directoryId: wire.directoryId,
  }
}

export function vacuumCommandToWire(command: VacuumCommand): WireVacuumCommand {
  const { dropsTombstones, skipsDamage, politeness } = command
  return { ...commandToWire(command), dropsTombstones, skipsDamage, politeness }
}

/** @throws {StoreError} REQUEST_INVALID */
export function vacuumCommandFromWire(wire: WireVacuumCommand): VacuumCommand {
  const { dropsTombstones, skipsDamage } = wire
  const politeness = wirePoliteness(wire.politeness)
  return { ...commandFromWire(wire), dropsTombstones, skipsDamage, politeness }
}

export function vacuumToWire(progress: VacuumProgress): WireVacuum {
  const { phase, copiedBytes, totalBytes } = progress
  return { phase, copiedBytes, totalBytes }
}

/** @throws {StoreError} REQUEST_INVALID */
export function vacuumFromWire(wire: WireVacuum): VacuumProgress {
  return {
    phase: wireWord(wire.phase, VACUUM_PHASES, 'the phase of a vacuum'),
    copiedBytes: wireNumber(wire.copiedBytes, 'bytes'),
    totalBytes: wireNumber(wire.totalBytes, 'bytes'),
  }
}

export function freezeToWire(command: FreezeCommand): WireFreeze {
  return { ...commandToWire(command), forMs: command.forMs }
}

/** @throws {StoreError} REQUEST_INVALID */
export function freezeFromWire(wire: WireFreeze): FreezeCommand {
  return { ...commandFromWire(wire), forMs: wire.forMs }
}

export function volumeDigestToWire(digest: VolumeDigest): VolumeDigest {
  return { ...extentToWire(digest), digest: digest.digest, liveNeedles: digest.liveNeedles }
}

/** @throws {StoreError} REQUEST_INVALID, also for an empty digest, which is equal to any other. */
export function volumeDigestFromWire(wire: VolumeDigest): VolumeDigest {
  if (wire.digest === '') throw invalid('a digest is missing')
  return {
    ...extentFromWire(wire),
    digest: digestFromWire(wire.digest),
    liveNeedles: wireNumber(wire.liveNeedles, 'live needles'),
  }
}

export function catchUpToWire(command: CatchUpCommand): WireCatchUp {
  const { source, sourceExtent } = command
  const extent = extentToWire(sourceExtent)
  return { ...commandToWire(command), source: nodeToWire(source), sourceExtent: extent }
}

/** @throws {StoreError} REQUEST_INVALID */
export function catchUpFromWire(wire: WireCatchUp): CatchUpCommand {
  return {
    ...commandFromWire(wire),
    source: nodeFromWire(wire.source),
    sourceExtent: extentFromWire(wire.sourceExtent),
  }
}

export function catchUpAnswerToWire(answer: CatchUpAnswer): WireCatchUpAnswer {
  return { sourceExtent: extentToWire(answer.sourceExtent), recordCount: answer.recordCount }
}

/** @throws {StoreError} REQUEST_INVALID */
export function catchUpAnswerFromWire(wire: WireCatchUpAnswer): CatchUpAnswer {
  return {
    sourceExtent: extentFromWire(wire.sourceExtent),
    recordCount: wireNumber(wire.recordCount, 'records'),
  }
}

/** Lists of numbers take a tenth of the time that messages do, and volumes have many needles. */
export function needlePageToWire(page: readonly NeedleSummary[]): WireNeedlePage {
  return {
    idHighs: page.map((needle) => needle.needleId.hi),
    idLows: page.map((needle) => needle.needleId.lo),
    sizeBytes: page.map((needle) => needle.sizeBytes),
    isDeleted: page.map((needle) => needle.isDeleted),
  }
}

/** @throws {StoreError} REQUEST_INVALID: the lists are not equally long. */
export function needlePageFromWire(wire: WireNeedlePage): NeedleSummary[] {
  const { idHighs, idLows, sizeBytes, isDeleted } = wire
  return idHighs.map((high, index) => {
    const low = idLows[index]
    const size = sizeBytes[index]
    const deleted = isDeleted[index]
    if (low === undefined || size === undefined || deleted === undefined) {
      throw invalid('a page of needles with a list that is too short')
    }
    return { needleId: needleId(high, low), sizeBytes: size, isDeleted: deleted }
  })
}

export function needleIdsToWire(needleIds: readonly NeedleId[]): string[] {
  return needleIds.map(formatNeedleId)
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.healNeedlesMax`. */
export function needleIdsFromWire(needleIds: readonly string[]): NeedleId[] {
  return wireAtMost(needleIds, LIMITS.healNeedlesMax.value, 'needles').map(wireNeedleId)
}

export function needleStatToWire(stat: NeedleStat): WireNeedleStat {
  const { state, cookie, checksum, dataBytes, attributesHash } = stat
  return {
    needleId: formatNeedleId(stat.needleId),
    state,
    cookie,
    checksum,
    dataBytes,
    attributesHash,
    appendAtNs: stat.appendAtNs.toString(),
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function needleStatFromWire(wire: WireNeedleStat): NeedleStat {
  return {
    needleId: wireNeedleId(wire.needleId),
    state: wireWord(wire.state, NEEDLE_STATES, 'the state of a needle'),
    cookie: wire.cookie as Cookie,
    checksum: wire.checksum,
    dataBytes: wireNumber(wire.dataBytes, 'bytes'),
    attributesHash: wireNumber(wire.attributesHash, 'a hash'),
    appendAtNs: wireNanoseconds(wire.appendAtNs),
  }
}

export function healToWire(command: HealNeedlesCommand): WireHeal {
  const { source, needleIds } = command
  const ids = needleIdsToWire(needleIds)
  return { ...commandToWire(command), source: nodeToWire(source), needleIds: ids }
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.healNeedlesMax`. */
export function healFromWire(wire: WireHeal): HealNeedlesCommand {
  return {
    ...commandFromWire(wire),
    source: nodeFromWire(wire.source),
    needleIds: needleIdsFromWire(wire.needleIds),
  }
}

export function healAnswerToWire(answer: HealAnswer): WireHealAnswer {
  return { needleId: formatNeedleId(answer.needleId), outcome: answer.outcome }
}

/** @throws {StoreError} REQUEST_INVALID */
export function healAnswerFromWire(wire: WireHealAnswer): HealAnswer {
  return {
    needleId: wireNeedleId(wire.needleId),
    outcome: wireWord(wire.outcome, HEAL_OUTCOMES, 'what became of a needle'),
  }
}

export interface DeleteNeedlesCommand extends VolumeCommand {
  readonly needleIds: readonly NeedleId[]
}

export function deleteNeedlesToWire(command: DeleteNeedlesCommand): WireDeleteNeedles {
  return { ...commandToWire(command), needleIds: needleIdsToWire(command.needleIds) }
}

/** @throws {StoreError} REQUEST_INVALID, also for more than `LIMITS.healNeedlesMax`. */
export function deleteNeedlesFromWire(wire: WireDeleteNeedles): DeleteNeedlesCommand {
  return { ...commandFromWire(wire), needleIds: needleIdsFromWire(wire.needleIds) }
}

export function scrubToWire(command: ScrubCommand): WireScrub {
  const { volumeId, from, politeness } = command
  return { volumeId, from: extentToWire(from), politeness }
}

/** @throws {StoreError} REQUEST_INVALID */
export function scrubFromWire(wire: WireScrub): ScrubCommand {
  return {
    volumeId: wireVolumeId(wire.volumeId),
    from: extentFromWire(wire.from),
    politeness: wirePoliteness(wire.politeness),
  }
}

export function findingToWire(finding: ScrubFinding): WireScrubFinding {
  const { kind, needleId, offsetBytes, message } = finding
  return { kind, needleId: formatNeedleId(needleId), offsetBytes, message }
}

/** @throws {StoreError} REQUEST_INVALID */
export function findingFromWire(wire: WireScrubFinding): ScrubFinding {
  return {
    kind: wireWord(wire.kind, FINDING_KINDS, 'the kind of a finding'),
    needleId: wireNeedleId(wire.needleId),
    offsetBytes: wireNumber(wire.offsetBytes, 'an offset'),
    message: wire.message,
  }
}

export function scrubProgressToWire(progress: ScrubProgress): WireScrubProgress {
  const { at, totalBytes, isDone, contentDigest } = progress
  const findings = progress.findings.map(findingToWire)
  return { at: extentToWire(at), totalBytes, findings, isDone, contentDigest }
}

/** @throws {StoreError} REQUEST_INVALID */
export function scrubProgressFromWire(wire: WireScrubProgress): ScrubProgress {
  return {
    at: extentFromWire(wire.at),
    totalBytes: wireNumber(wire.totalBytes, 'bytes'),
    findings: wire.findings.map(findingFromWire),
    isDone: wire.isDone,
    contentDigest: digestFromWire(wire.contentDigest),
  }
}

export interface SetReplicationCommand extends VolumeCommand {
  readonly replication: ReplicaPlacement
}

export function setReplicationToWire(command: SetReplicationCommand): WireSetReplication {
  const replication = formatReplicaPlacement(command.replication)
  return { ...commandToWire(command), replication }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function setReplicationFromWire(wire: WireSetReplication): SetReplicationCommand {
  return { ...commandFromWire(wire), replication: parseReplicaPlacement(wire.replication) }
}
