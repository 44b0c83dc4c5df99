import {
  ERASURE_SHARDS_MAX,
  type ErasureScheme,
  parseErasureScheme,
} from '../base/erasure-scheme.ts'
import { LIMITS } from '../base/limits.ts'
import { parseReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { MIB, parseBytes } from '../base/units.ts'
import { parseAccessKeyId, parseSecretKey } from '../namespace/user-record.ts'
import type { TlsKeys } from '../net/tls.ts'
import type { RootKey } from './open-users.ts'
import { STRATEGY_NAMES, type StrategyName } from './strategies.ts'

/** When volumes are made, and how many. */
export interface GrowthConfig {
  /** Writable volumes of a layout for each disk with room: few, so that writers share syncs. */
  readonly writablePerDisk: number
  /** At least so many of each layout in use: a write that failed on one finds another. */
  readonly writableMin: number
  readonly writableMax: number
  /** A volume filled to this share of its size gets a successor. */
  readonly crowdedShare: number
  /** Disks with less room than this get no new volumes. */
  readonly roomMinBytes: number
  /** An assign waits so long for a volume to be made. */
  readonly waitMs: number
  /** A volume server has so long to make one, or to delete one: less than `waitMs`. */
  readonly allocateMs: number
  /** Layouts that nobody has asked for in this time get no volumes ahead of need. */
  readonly idleMs: number
  /** The layouts in use are looked at this often even when nothing happens. */
  readonly checkMs: number
}

/** What the master sees to without being asked, and how patient it is. */
export interface RepairConfig {
  /** A server that is down for so long has lost its copies: others are made. */
  readonly delayMs: number
  /** All volumes are looked at this often. */
  readonly checkMs: number
  /** Servers further apart than this share of their disks in use are evened out. */
  readonly massShare: number
  /** Volumes with more garbage than this are rewritten: 0 to 1. */
  readonly garbageThreshold: number
  /** Every copy is read and checked in this time. */
  readonly scrubEveryMs: number
  /** Objects are looked after this often, if there is anything to do; 0: when somebody asks. */
  readonly healEveryMs: number
  /** Rest for each unit of work, of jobs that nobody waits for. */
  readonly politeness: number
  /** A worker that is silent for so long has lost its job. */
  readonly leaseMs: number
  /** Servers that differ by more than this share of their disks in use are evened out. */
  readonly rebalanceSpread: number
  /** Jobs at once of the worker that runs beside this master; 0: none. */
  readonly workers: number
  /** Going down so often within `flapWindowMs` is flapping, until up for `flapCalmMs`. */
  readonly flapCount: number
  readonly flapWindowMs: number
  readonly flapCalmMs: number
  /** A server that is up for less is taken to have been down all the time. */
  readonly upAgainMs: number
}

/** Which volumes are erasure-coded by themselves, and how. */
export interface ErasureConfig {
  /** Of collections that do not say; undefined: those are not coded. */
  readonly scheme: ErasureScheme | undefined
  /** Volumes that are filled to so much of their size are coded. */
  readonly fullPercent: number
  /** Not before nothing was written to them for so long. */
  readonly quietMs: number
}

export interface MasterConfig {
  /** Holds the metadata and the cluster secret. */
  readonly dir: string
  /** Where HTTP and gRPC listen. */
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
  readonly grpcPort: number
  /** The host under which others reach this master. */
  readonly publicHost: string
  readonly defaultReplication: ReplicaPlacement
  readonly strategy: StrategyName
  readonly volumeSizeMaxBytes: number
  readonly heartbeatMs: number
  readonly growth: GrowthConfig
  readonly repair: RepairConfig
  readonly erasure: ErasureConfig
  /** After a start, volume servers known from before are waited for at most so long. */
  readonly warmUpMaxMs: number
  /** An assign waits so long for the end of the warm-up before it is refused. */
  readonly warmUpWaitMs: number
  /** A server not heard of for so long is not waited for any more, and its copies do not count. */
  readonly forgetNodeMs: number
  readonly leaseMs: number
  readonly needsWriteTokens: boolean
  readonly needsReadTokens: boolean
  /** Undefined: the one in `dir`, made there at the first start. */
  readonly secret: Buffer | undefined
  /** An access key that the root user of S3 has beside its others. */
  readonly rootKey: RootKey | undefined
  /** Undefined: in the clear. */
  readonly tls: TlsKeys | undefined
  /** While another master uses the directory, wait for it to be gone instead of failing. */
  readonly isStandby: boolean
}

/** As people write it: numbers may be text, sizes like `30GiB`, what is left out has a default. */
export interface RawMasterConfig {
  readonly dir: string
  readonly host?: string | undefined
  readonly port?: number | string | undefined
  readonly grpcPort?: number | string | undefined
  readonly publicHost?: string | undefined
  readonly defaultReplication?: string | undefined
  readonly strategy?: string | undefined
  readonly volumeSizeMaxBytes?: number | string | undefined
  readonly heartbeatMs?: number | string | undefined
  readonly warmUpMaxMs?: number | string | undefined
  readonly warmUpWaitMs?: number | string | undefined
  readonly forgetNodeMs?: number | string | undefined
  readonly leaseMs?: number | string | undefined
  readonly needsWriteTokens?: boolean | undefined
  readonly needsReadTokens?: boolean | undefined
  readonly secret?: Buffer | undefined
  readonly rootAccessKey?: string | undefined
  readonly rootSecretKey?: string | undefined
  readonly tls?: TlsKeys | undefined
  readonly standby?: boolean | undefined
  readonly growth?: Readonly<Partial<Record<keyof GrowthConfig, number | string>>> | undefined
  readonly repair?: Readonly<Partial<Record<keyof RepairConfig, number | string>>> | undefined
  readonly erasure?: RawErasureConfig | undefined
}

export interface RawErasureConfig
  extends Readonly<Partial<Record<Exclude<keyof ErasureConfig, 'scheme'>, number | string>>> {
  /** Like `10+4`, or `off`, as if it was left out. */
  readonly scheme?: string | undefined
}

const GRPC_PORT_OFFSET = 10_000
const PORT_MAX = 65_535
const DAY_MS = 86_400_000

/** @throws {StoreError} CONFIG_INVALID: names the setting, its value, and what it may be. */
export function readMasterConfig(raw: RawMasterConfig): MasterConfig {
  if (typeof raw.dir !== 'string' || raw.dir === '') throw invalid('dir', raw.dir, 'a directory')
  const host = text('host', raw.host, '127.0.0.1')
  const port = whole('port', raw.port, 9333, [0, PORT_MAX])
  return Object.freeze({
    dir: raw.dir,
    host,
    port,
    grpcPort: readGrpcPort(raw.grpcPort, port),
    publicHost: text('publicHost', raw.publicHost, host),
    defaultReplication: readReplication(raw.defaultReplication),
    strategy: readStrategy(raw.strategy),
    volumeSizeMaxBytes: size('volumeSizeMaxBytes', raw.volumeSizeMaxBytes, {
      standard: LIMITS.volumeSizeDefault.value,
      range: [MIB, LIMITS.volumeSizeMax.value],
    }),
    heartbeatMs: whole('heartbeatMs', raw.heartbeatMs, 5000, [10, 600_000]),
    growth: readGrowth(raw.growth ?? {}),
    repair: readRepair(raw.repair ?? {}),
    erasure: readErasure(raw.erasure ?? {}),
    warmUpMaxMs: whole('warmUpMaxMs', raw.warmUpMaxMs, 30_000, [0, 3_600_000]),
    warmUpWaitMs: whole('warmUpWaitMs', raw.warmUpWaitMs, 3000, [0, 60_000]),
    forgetNodeMs: whole('forgetNodeMs', raw.forgetNodeMs, 7 * DAY_MS, [60_000, 3650 * DAY_MS]),
    leaseMs: whole('leaseMs', raw.leaseMs, 60_000, [100, 3_600_000]),
    needsWriteTokens: flag('needsWriteTokens', raw.needsWriteTokens),
    needsReadTokens: flag('needsReadTokens', raw.needsReadTokens),
    secret: raw.secret,
    rootKey: readRootKey(raw),
    tls: raw.tls,
    isStandby: flag('standby', raw.standby),
  })
}

function readRootKey(raw: RawMasterConfig): RootKey | undefined {
  const { rootAccessKey: accessKeyId, rootSecretKey: secret } = raw
  if (accessKeyId === undefined && secret === undefined) return undefined
  try {
    return {
      accessKeyId: parseAccessKeyId(accessKeyId ?? ''),
      secret: parseSecretKey(secret ?? ''),
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : ''
    // The secret is not shown.
    const message = `rootAccessKey and rootSecretKey must be an access key with its secret: ${why}`
    throw new StoreError('CONFIG_INVALID', message, { cause })
  }
}

function readGrowth(raw: NonNullable<RawMasterConfig['growth']>): GrowthConfig {
  const writableMin = whole('growth.writableMin', raw.writableMin, 2, [1, 1000])
  return Object.freeze({
    writablePerDisk: decimal('growth.writablePerDisk', raw.writablePerDisk, 1, [0, 100]),
    writableMin,
    writableMax: whole('growth.writableMax', raw.writableMax, Math.max(64, writableMin), [
      writableMin,
      100_000,
    ]),
    crowdedShare: decimal('growth.crowdedShare', raw.crowdedShare, 0.9, [0.1, 0.99]),
    roomMinBytes: size('growth.roomMinBytes', raw.roomMinBytes, {
      standard: 16 * MIB,
      range: [1, LIMITS.volumeSizeMax.value],
    }),
    waitMs: whole('growth.waitMs', raw.waitMs, 10_000, [0, 600_000]),
    allocateMs: whole('growth.allocateMs', raw.allocateMs, 3000, [10, 600_000]),
    idleMs: whole('growth.idleMs', raw.idleMs, 600_000, [0, 30 * DAY_MS]),
    checkMs: whole('growth.checkMs', raw.checkMs, 5000, [10, 3_600_000]),
  })
}

function readRepair(raw: NonNullable<RawMasterConfig['repair']>): RepairConfig {
  const ms = (name: keyof RepairConfig, standard: number, range: Range) =>
    whole(`repair.${name}`, raw[name], standard, range)
  const share = (name: keyof RepairConfig, standard: number) =>
    decimal(`repair.${name}`, raw[name], standard, [0.01, 1])
  return Object.freeze({
    delayMs: ms('delayMs', 900_000, [0, 30 * DAY_MS]),
    checkMs: ms('checkMs', 5000, [10, 3_600_000]),
    massShare: share('massShare', 0.2),
    garbageThreshold: share('garbageThreshold', 0.3),
    scrubEveryMs: ms('scrubEveryMs', 14 * DAY_MS, [1000, 3650 * DAY_MS]),
    healEveryMs: ms('healEveryMs', 30_000, [0, DAY_MS]),
    politeness: decimal('repair.politeness', raw.politeness, 4, [0, 1000]),
    leaseMs: ms('leaseMs', 10_000, [100, 3_600_000]),
    rebalanceSpread: share('rebalanceSpread', 0.1),
    workers: whole('repair.workers', raw.workers, 2, [0, 1000]),
    flapCount: whole('repair.flapCount', raw.flapCount, 3, [2, 1000]),
    flapWindowMs: ms('flapWindowMs', 600_000, [10, DAY_MS]),
    flapCalmMs: ms('flapCalmMs', 300_000, [0, DAY_MS]),
    upAgainMs: ms('upAgainMs', 60_000, [0, DAY_MS]),
  })
}

function readErasure(raw: RawErasureConfig): ErasureConfig {
  return Object.freeze({
    scheme: readScheme(raw.scheme),
    fullPercent: decimal('erasure.fullPercent', raw.fullPercent, 95, [1, 100]),
    quietMs: whole('erasure.quietMs', raw.quietMs, 3_600_000, [0, 3650 * DAY_MS]),
  })
}

function readScheme(value: string | undefined): ErasureScheme | undefined {
  if (value === undefined || value === 'off') return undefined
  try {
    return parseErasureScheme(value)
  } catch (cause) {
    const { data, parity } = ERASURE_SHARDS_MAX
    throw invalid('erasure.scheme', value, `off, or like 10+4 and at most ${data}+${parity}`, cause)
  }
}

function readGrpcPort(value: number | string | undefined, port: number): number {
  if (value !== undefined || port === 0) return whole('grpcPort', value, 0, [0, PORT_MAX])
  const standard = port + GRPC_PORT_OFFSET
  if (standard > PORT_MAX) {
    throw invalid('grpcPort', undefined, `set: port ${port} + ${GRPC_PORT_OFFSET} is no port`)
  }
  return standard
}

function readReplication(value: string | undefined): ReplicaPlacement {
  try {
    return parseReplicaPlacement(value ?? '000')
  } catch (cause) {
    throw invalid('defaultReplication', value, 'three digits like 001, at most 255', cause)
  }
}

function readStrategy(value: string | undefined): StrategyName {
  const found = STRATEGY_NAMES.find((name) => name === (value ?? 'random'))
  if (found === undefined) throw invalid('strategy', value, `one of ${STRATEGY_NAMES.join(', ')}`)
  return found
}

function text(name: string, value: string | undefined, standard: string): string {
  if (value === undefined) return standard
  if (typeof value !== 'string' || value === '') throw invalid(name, value, 'not empty')
  return value
}

function flag(name: string, value: boolean | undefined): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw invalid(name, value, 'true or false')
  return value ?? false
}

type Range = readonly [min: number, max: number]

function decimal(
  name: string,
  value: number | string | undefined,
  standard: number,
  [min, max]: Range,
): number {
  const number = value === undefined ? standard : value === '' ? Number.NaN : Number(value)
  if (number >= min && number <= max) return number
  throw invalid(name, value, `a number from ${min} to ${max}`)
}

function whole(
  name: string,
  value: number | string | undefined,
  standard: number,
  range: Range,
): number {
  const number = decimal(name, value, standard, range)
  if (Number.isInteger(number)) return number
  throw invalid(name, value, `a whole number from ${range[0]} to ${range[1]}`)
}

function size(
  name: string,
  value: number | string | undefined,
  { standard, range }: { readonly standard: number; readonly range: Range },
): number {
  const wanted = `bytes from ${range[0]} to ${range[1]}, like 64MB or 30GiB`
  try {
    const bytes = typeof value === 'string' ? parseBytes(value) : (value ?? standard)
    if (Number.isInteger(bytes) && bytes >= range[0] && bytes <= range[1]) return bytes
  } catch (cause) {
    throw invalid(name, value, wanted, cause)
  }
  throw invalid(name, value, wanted)
}

function invalid(name: string, value: unknown, wanted: string, cause?: unknown): StoreError {
  const shown = value === undefined ? 'nothing' : quote(String(value))
  return new StoreError('CONFIG_INVALID', `${name} is ${shown}, but must be ${wanted}`, { cause })
}
