import type { Command } from 'commander'
import { LIMITS } from '../base/limits.ts'
import { GIB, KIB, MIB } from '../base/units.ts'
import type { ObjectSpread } from '../gateway/objects/objects-config.ts'
import type {
  DoorsAddresses,
  DoorsOptions,
  FilesOptions,
  RestOptions,
} from '../server/open-doors.ts'
import { readChoice, readList, readPort, readSize } from './setting-values.ts'

/** Of the gateways beside S3. */
export interface DoorFlags {
  readonly restPort: string
  readonly restIp?: string
  readonly objectsPolicy: string
  readonly objectsSpread: string
  readonly objectsReplication?: string
  readonly objectsMaxSize: string
  readonly objectsMetricsFile?: string
  readonly documentsHotFields?: string
  readonly documentsPolicy: string
  readonly documentsReplication?: string
  readonly documentsMaxSize: string
  readonly gatewayWrites: string
  readonly filesPort: string
  readonly filesIp?: string
  readonly filesChunkSize: string
  readonly filesCache: string
}

const SPREADS = ['auto', 'servers', 'racks', 'data-centers'] as const
const WRITE_POLICIES = ['all', 'best-effort'] as const

export function addDoorOptions(command: Command): Command {
  return command
    .option(
      '--rest-port <port>',
      'HTTP port of objects and documents; 0 for any that is free, off for none',
      '8000',
    )
    .option('--rest-ip <address>', 'address on which they listen; --ip unless given')
    .option(
      '--objects-policy <policy>',
      'how objects are kept: replicated, or like ec:2+1',
      'replicated',
    )
    .option(
      '--objects-spread <places>',
      'what shards of objects are kept apart by: auto, servers, racks or data-centers',
      'auto',
    )
    .option('--objects-replication <digits>', "of replicated objects; the cluster's unless given")
    .option('--objects-max-size <size>', 'a larger upload of an object is refused', '100MiB')
    .option('--objects-metrics-file <file>', 'where exports of metrics go: CSV, JSON beside it')
    .option(
      '--documents-hot-fields <names>',
      'fields that field_hybrid keeps apart, with commas between; six usual ones unless given',
    )
    .option('--documents-policy <policy>', 'of erasure-coded documents and cold fields', 'ec:4+2')
    .option(
      '--documents-replication <digits>',
      'of replicated documents and hot fields; three copies unless given',
    )
    .option('--documents-max-size <size>', 'a larger document is refused', '16MiB')
    .option(
      '--gateway-writes <policy>',
      'all or best-effort: with the latter a write counts when it can be read, and is completed',
      'all',
    )
    .option(
      '--files-port <port>',
      "gRPC port of users' files; 0 for any that is free, off for none",
      '18333',
    )
    .option('--files-ip <address>', 'address on which they listen; --ip unless given')
    .option('--files-chunk-size <size>', 'larger files are kept in chunks of this size', '8MiB')
    .option('--files-cache <size>', 'memory for files that were read lately', '256MiB')
}

/** @throws {StoreError} CONFIG_INVALID */
export function readDoorSettings(flags: DoorFlags, ip: string): DoorsOptions {
  return { rest: readRest(flags, ip), files: readFiles(flags, ip) }
}

function readRest(flags: DoorFlags, ip: string): RestOptions | undefined {
  if (flags.restPort === 'off') return undefined
  const writePolicy = readChoice('--gateway-writes', flags.gatewayWrites, WRITE_POLICIES)
  const spread: ObjectSpread = readChoice('--objects-spread', flags.objectsSpread, SPREADS)
  const { documentsHotFields: hotFields } = flags
  const documentMax = { min: KIB, max: LIMITS.documentBytesMax.value }
  return {
    host: flags.restIp ?? ip,
    port: readPort('--rest-port', flags.restPort),
    objects: {
      policy: flags.objectsPolicy,
      spread,
      replication: flags.objectsReplication,
      writePolicy,
      maxFileBytes: readSize('--objects-max-size', flags.objectsMaxSize, {
        min: 1,
        max: OBJECT_MAX,
      }),
      metricsFile: flags.objectsMetricsFile,
    },
    documents: {
      hotFields: hotFields === undefined ? undefined : readList(hotFields),
      replication: flags.documentsReplication,
      codedPolicy: flags.documentsPolicy,
      documentBytesMax: readSize('--documents-max-size', flags.documentsMaxSize, documentMax),
      writePolicy,
    },
  }
}

const OBJECT_MAX = 5 * 1024 * GIB
const CHUNK = { min: KIB, max: 64 * MIB }
const CACHE = { min: 0, max: 1024 * GIB }

function readFiles(flags: DoorFlags, ip: string): FilesOptions | undefined {
  if (flags.filesPort === 'off') return undefined
  return {
    host: flags.filesIp ?? ip,
    port: readPort('--files-port', flags.filesPort),
    chunkBytes: readSize('--files-chunk-size', flags.filesChunkSize, CHUNK),
    cacheBytes: readSize('--files-cache', flags.filesCache, CACHE),
  }
}

/** Where they are, for people. */
export function doorLines({ filesAddress, restUrl }: DoorsAddresses): readonly string[] {
  return [
    ...(restUrl === undefined ? [] : [`  rest     ${restUrl}/docs  (objects, documents)`]),
    ...(filesAddress === undefined ? [] : [`  files    ${filesAddress}`]),
  ]
}
