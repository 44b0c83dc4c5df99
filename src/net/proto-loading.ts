import { fileURLToPath } from 'node:url'
import { logVerbosity, type ServiceDefinition, setLogVerbosity } from '@grpc/grpc-js'
import {
  type AnyDefinition,
  loadSync,
  type MessageTypeDefinition,
  type PackageDefinition,
} from '@grpc/proto-loader'
import { assert } from '../base/assert.ts'

// What fails reaches the caller as an error; the library would print it on standard error as well.
setLogVerbosity(logVerbosity.NONE)

/** Two folders up from here in src/ and in dist/ alike. */
const PROTO_DIRECTORY = fileURLToPath(new URL('../../proto/', import.meta.url))

/**
 * Everything of `hayloft.v1`. Names in camel case; 64-bit numbers as JavaScript numbers, exact to
 * 2^53: what may be larger is text in our messages. Absent scalars have their default; absent
 * messages are null, and what is `optional` and absent is undefined.
 */
export const PROTO_PACKAGE: PackageDefinition = loadSync(
  [
    'hayloft/v1/master.proto',
    'hayloft/v1/volume.proto',
    'hayloft/v1/jobs.proto',
    'hayloft/v1/shards.proto',
    'hayloft/v1/users.proto',
    'hayloft/v1/namespace.proto',
    'hayloft/v1/files.proto',
  ],
  {
    includeDirs: [PROTO_DIRECTORY],
    keepCase: false,
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  },
)

export const MASTER_SERVICE = 'hayloft.v1.Master'
export const VOLUME_SERVICE = 'hayloft.v1.Volume'
export const JOBS_SERVICE = 'hayloft.v1.Jobs'
export const SHARDS_SERVICE = 'hayloft.v1.Shards'
export const USERS_SERVICE = 'hayloft.v1.Users'
export const NAMESPACE_SERVICE = 'hayloft.v1.NamespaceService'
export const FILES_SERVICE = 'hayloft.v1.FileService'

export const MASTER_PROTO: ServiceDefinition = serviceNamed(MASTER_SERVICE)
export const VOLUME_PROTO: ServiceDefinition = serviceNamed(VOLUME_SERVICE)
export const JOBS_PROTO: ServiceDefinition = serviceNamed(JOBS_SERVICE)
export const SHARDS_PROTO: ServiceDefinition = serviceNamed(SHARDS_SERVICE)
export const USERS_PROTO: ServiceDefinition = serviceNamed(USERS_SERVICE)
export const NAMESPACE_PROTO: ServiceDefinition = serviceNamed(NAMESPACE_SERVICE)
export const FILES_PROTO: ServiceDefinition = serviceNamed(FILES_SERVICE)

/** A message of our protocol by its name within the package. */
export function messageNamed(name: string): MessageTypeDefinition<object, object> {
  const found = PROTO_PACKAGE[`hayloft.v1.${name}`]
  assert(found !== undefined && isMessage(found), `there is no message ${name}`)
  return found
}

function serviceNamed(name: string): ServiceDefinition {
  const found = PROTO_PACKAGE[name]
  assert(found !== undefined && !('format' in found), `there is no service ${name}`)
  return found as unknown as ServiceDefinition
}

function isMessage(found: AnyDefinition): found is MessageTypeDefinition<object, object> {
  return 'format' in found && found.format === 'Protocol Buffer 3 DescriptorProto'
}
