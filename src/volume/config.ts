import { isIP } from 'node:net'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { GIB, MIB, parseBytes } from '../base/units.ts'
import type { TlsKeys } from '../net/tls.ts'
import type { Durability } from '../storage/volume-options.ts'

export type ReadMode = 'proxy' | 'redirect' | 'local'

export interface VolumeServerConfig {
  /** At least one. The first also keeps what the server itself remembers. */
  readonly directories: readonly string[]
  /** The host that others reach this server by. */
  readonly host: string
  /** The address to listen on. */
  readonly bindHost: string
  /** 0: any that is free. */
  readonly port: number
  readonly grpcPort: number
  /** Host and port as clients reach it; empty: as servers do. */
  readonly publicUrl: string
  /** gRPC addresses of masters. Empty: there is none, or one in this process. */
  readonly masters: readonly string[]
  readonly dataCenter: string
  readonly rack: string
  readonly durability: Durability
  /** Puts stop while less than this is free; undefined: a share of the disk. */
  readonly reserveBytes: number | undefined
  readonly ballastBytes: number
  /** Puts into a volume stop when it has so many bytes. */
  readonly volumeSizeMaxBytes: number
  readonly readMode: ReadMode
  /** Bytes of bodies on their way in at once; 0: `LIMITS.httpUploadBytesMax`. */
  readonly uploadLimitBytes: number
  /** Bytes of answers on their way out at once; 0: no limit. */
  readonly downloadLimitBytes: number
  /** The longest file that is taken. */
  readonly fileSizeLimitBytes: number
  /** Memory for needles read from a cold disk; 0: none. */
  readonly cacheBytes: number
  /** Threads that serve HTTP beside the one that owns the volumes; 0: that one does. */
  readonly threads: number
  readonly writeTokens: boolean
  readonly readTokens: boolean
  /** Shared by all servers of the cluster. */
  readonly secret: Buffer | undefined
  readonly tls: TlsKeys | undefined
  /** Requests under way may take so long when the server closes. */
  readonly drainMs: number
}

/** A number, or how somebody writes one. Left out: the default. */
type Setting = string | number | undefined

/** What was asked for, as it came from a command line, a file or an application. */
export interface RawVolumeServerConfig {
  readonly directories: readonly string[]
  readonly host?: string | undefined
  readonly bindHost?: string | undefined
  readonly port?: Setting
  readonly grpcPort?: Setting
  readonly publicUrl?: string | undefined
  readonly masters?: readonly string[] | undefined
  readonly dataCenter?: string | undefined
  readonly rack?: string | undefined
  /** `fsync`, `none`, or an interval like `200ms`. */
  readonly durability?: string | undefined
  /** Sizes: bytes, or text like `10GiB`. */
  readonly reserve?: Setting
  readonly ballast?: Setting
  readonly volumeSizeMax?: Setting
  readonly readMode?: string | undefined
  readonly uploadLimit?: Setting
  readonly downloadLimit?: Setting
  readonly fileSizeLimit?: Setting
  readonly cache?: Setting
  readonly threads?: Setting
  readonly writeTokens?: boolean | undefined
  readonly readTokens?: boolean | undefined
  readonly secret?: Buffer | undefined
  readonly tls?: TlsKeys | undefined
  readonly drainMs?: Setting
}

const DEFAULT_PORT = 8080
const GRPC_PORT_STEP = 10_000
const PORT_MAX = 65_535
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/
const DRAIN_MS_MAX = 600_000
const THREADS_MAX = 64

/** @throws {StoreError} CONFIG_INVALID: names the setting, its value and what it may be. */
export function readVolumeServerConfig(raw: RawVolumeServerConfig): VolumeServerConfig {
  const { secret, tls, masters = [] } = raw
  const [first] = raw.directories
  if (first === undefined || raw.directories.includes('')) {
    throw invalid('directories', raw.directories.join(','), 'one path or more')
  }
  const host = readHost('host', raw.host ?? '127.0.0.1')
  const port = readNumber('port', raw.port, DEFAULT_PORT, { max: PORT_MAX })
  const grpcPort = readNumber('grpcPort', raw.grpcPort, defaultGrpcPort(port), { max: PORT_MAX })
  const writeTokens = raw.writeTokens ?? false
  const readTokens = raw.readTokens ?? false
  if (secret === undefined && (writeTokens || readTokens || masters.length > 0)) {
    throw invalid('secret', 'undefined', 'the cluster secret, for masters elsewhere and for tokens')
  }
  return Object.freeze({
    directories: Object.freeze([...raw.directories]),
    host,
    bindHost: readHost('bindHost', raw.bindHost ?? host),
    port,
    grpcPort,
    publicUrl: raw.publicUrl === undefined ? '' : readAddress('publicUrl', raw.publicUrl),
    masters: Object.freeze(masters.map((address) => readAddress('masters', address))),
    dataCenter: readName('dataCenter', raw.dataCenter ?? 'dc1'),
    rack: readName('rack', raw.rack ?? 'rack1'),
    durability: readDurability(raw.durability ?? 'fsync'),
    ...readSizes(raw),
    readMode: readReadMode(raw.readMode ?? 'proxy'),
    threads: readNumber('threads', raw.threads, 0, { max: THREADS_MAX }),
    writeTokens,
    readTokens,
    secret,
    tls,
    drainMs: readNumber('drainMs', raw.drainMs, 10_000, { max: DRAIN_MS_MAX }),
  })
}

function readSizes(raw: RawVolumeServerConfig) {
  const needleMax = LIMITS.needleDataMax.value
  return {
    reserveBytes: raw.reserve === undefined ? undefined : readSize('reserve', raw.reserve, 0, {}),
    ballastBytes: readSize('ballast', raw.ballast, LIMITS.diskBallast.value, { max: GIB }),
    volumeSizeMaxBytes: readSize(
      'volumeSizeMax',
      raw.volumeSizeMax,
      LIMITS.volumeSizeDefault.value,
      { min: MIB, max: LIMITS.volumeSizeMax.value },
    ),
    uploadLimitBytes: readSize('uploadLimit', raw.uploadLimit, 0, {}),
    downloadLimitBytes: readSize('downloadLimit', raw.downloadLimit, 0, {}),
    fileSizeLimitBytes: readSize('fileSizeLimit', raw.fileSizeLimit, 256 * MIB, {
      min: 1,
      max: needleMax,
    }),
    cacheBytes: readSize('cache', raw.cache, 0, {}),
  }
}

function defaultGrpcPort(port: number): number {
  // A free port was asked for, or there is no port so far up.
  return port === 0 || port + GRPC_PORT_STEP > PORT_MAX ? 0 : port + GRPC_PORT_STEP
}

interface Range {
  readonly min?: number
  readonly max?: number
}

function readNumber(name: string, value: Setting, fallback: number, range: Range): number {
  if (value === undefined) return fallback
  const number = typeof value === 'number' ? value : /^\d{1,15}$/.test(value) ? Number(value) : -1
  return checkRange(name, value, number, range)
}

function readSize(name: string, value: Setting, fallback: number, range: Range): number {
  if (value === undefined) return fallback
  if (typeof value === 'number') return checkRange(name, value, value, range)
  try {
    return checkRange(name, value, parseBytes(value), range)
  } catch (cause) {
    throw invalid(name, value, `a size like 64MiB, ${rangeText(range)}`, cause)
  }
}

function checkRange(name: string, value: string | number, number: number, range: Range): number {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = range
  if (Number.isSafeInteger(number) && number >= min && number <= max) return number
  throw invalid(name, String(value), `a whole number, ${rangeText(range)}`)
}

function rangeText({ min = 0, max }: Range): string {
  return max === undefined ? `${min} or more` : `${min} to ${max}`
}

function readHost(name: string, text: string): string {
  const isName = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text)
  if (isName || isIP(text) !== 0) return text
  throw invalid(name, text, 'a host name or an address')
}

function readAddress(name: string, text: string): string {
  const [, host = '', port = ''] = /^(.{1,253}):(\d{1,5})$/.exec(text) ?? []
  const isBracketed = /^\[.*\]$/.test(host) && isIP(host.slice(1, -1)) === 6
  if (Number(port) < 1 || Number(port) > PORT_MAX) throw invalid(name, text, 'host:port')
  return isBracketed || readHost(name, host) === host ? text : ''
}

function readName(name: string, text: string): string {
  if (NAME.test(text)) return text
  throw invalid(name, text, '1 to 63 letters, digits, -, _ and ., beginning with a letter or digit')
}

function readDurability(text: string): Durability {
  if (text === 'fsync' || text === 'none') return { mode: text }
  const [, digits = ''] = /^(\d{1,5})ms$/.exec(text) ?? []
  const intervalMs = Number(digits)
  if (intervalMs >= 1) return { mode: 'interval', intervalMs }
  throw invalid('durability', text, 'fsync, none, or an interval of 1ms to 99999ms')
}

function readReadMode(text: string): ReadMode {
  if (text === 'proxy' || text === 'redirect' || text === 'local') return text
  throw invalid('readMode', text, 'proxy, redirect or local')
}

function invalid(name: string, value: string, allowed: string, cause?: unknown): StoreError {
  const why = `${name} is ${quote(value)}; it must be ${allowed}`
  return new StoreError('CONFIG_INVALID', why, { cause })
}
