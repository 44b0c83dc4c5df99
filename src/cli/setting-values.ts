import { quote, StoreError } from '../base/store-error.ts'
import { formatBytes, parseBytes } from '../base/units.ts'
import { formatDuration } from './durations.ts'

const PORT_MAX = 65_535
const GRPC_PORT_OFFSET = 10_000
const DURATION_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}
const ADDRESS =
  /^(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::(\d{1,5})(?:\.(\d{1,5}))?)?$/i

interface Bounds {
  readonly min: number
  readonly max: number
}

/** A whole number. @throws {StoreError} CONFIG_INVALID: names the flag, its value and its range. */
export function readCount(flag: string, text: string, { min, max }: Bounds): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw invalidSetting(flag, text, `it must be a whole number from ${min} to ${max}`)
}

/** Port 0 stands for any free one. @throws {StoreError} CONFIG_INVALID */
export function readPort(flag: string, text: string): number {
  return readCount(flag, text, { min: 0, max: PORT_MAX })
}

/** @throws {StoreError} CONFIG_INVALID */
export function readSize(flag: string, text: string, { min, max }: Bounds): number {
  const value = parseBytes(text)
  if (value >= min && value <= max) return value
  throw invalidSetting(flag, text, `it must be from ${formatBytes(min)} to ${formatBytes(max)}`)
}

/** A number, fractions allowed. @throws {StoreError} CONFIG_INVALID */
export function readNumber(flag: string, text: string, { min, max }: Bounds): number {
  const value = /^\d{1,15}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw invalidSetting(flag, text, `it must be a number from ${min} to ${max}`)
}

/** `500ms`, `30s`, `15m`, `2h` or `14d`, in milliseconds. @throws {StoreError} CONFIG_INVALID */
export function readDurationMs(flag: string, text: string, { min, max }: Bounds): number {
  const [, digits = '', unit = ''] = /^(\d{1,9}(?:\.\d{1,3})?) ?(ms|s|m|h|d)$/.exec(text) ?? []
  const value = Math.round(Number(digits) * (DURATION_MS[unit] ?? Number.NaN))
  if (digits !== '' && value >= min && value <= max) return value
  const range = `from ${formatDuration(min)} to ${formatDuration(max)}`
  throw invalidSetting(flag, text, `it must be a time like 30s, 15m, 2h or 14d, ${range}`)
}

/** @throws {StoreError} CONFIG_INVALID */
export function readChoice<Choice extends string>(
  flag: string,
  text: string,
  choices: readonly Choice[],
): Choice {
  const found = choices.find((choice) => choice === text)
  if (found !== undefined) return found
  throw invalidSetting(flag, text, `it must be one of ${choices.join(', ')}`)
}

/** Values with commas between them; none when the text is empty. */
export function readList(text: string): readonly string[] {
  return text === '' ? [] : text.split(',').map((item) => item.trim())
}

/** Where a server answers. */
export interface ServerAddress {
  readonly http: string
  readonly grpc: string
}

/**
 * `host`, `host:port` or `host:port.grpcPort`, several with commas between. Without a gRPC port it
 * is the HTTP port + 10000.
 *
 * @throws {StoreError} CONFIG_INVALID
 */
export function readAddresses(
  flag: string,
  text: string,
  defaultPort: number,
): readonly ServerAddress[] {
  const addresses = readList(text).map((item) => readAddress(flag, item, defaultPort))
  if (addresses.length > 0) return addresses
  throw invalidSetting(flag, text, `it must be an address like 10.0.0.7:${defaultPort}`)
}

function readAddress(flag: string, text: string, defaultPort: number): ServerAddress {
  const [, host = '', portText, grpcText] = ADDRESS.exec(text) ?? []
  const port = portText === undefined ? defaultPort : Number(portText)
  const grpcPort = grpcText === undefined ? port + GRPC_PORT_OFFSET : Number(grpcText)
  if (host !== '' && isPort(port) && isPort(grpcPort)) {
    return { http: `${host}:${port}`, grpc: `${host}:${grpcPort}` }
  }
  const why = `it must be an address like 10.0.0.7:${defaultPort}, or 10.0.0.7:PORT.GRPCPORT`
  throw invalidSetting(flag, text, why)
}

function isPort(value: number): boolean {
  return value > 0 && value <= PORT_MAX
}

export function invalidSetting(flag: string, text: string, why: string): StoreError {
  return new StoreError('CONFIG_INVALID', `${flag} ${quote(text)}: ${why}`)
}
