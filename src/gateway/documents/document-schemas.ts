import { DOCUMENT_STRATEGIES } from '../../namespace/object-version.ts'
import { errorSchemas } from '../rest/rest-schemas.ts'

const KEY = {
  type: 'object',
  required: ['*'],
  properties: { '*': { type: 'string', description: 'Key of 1 to 1024 bytes; may have slashes' } },
} as const

const STRATEGY = { type: 'string', enum: DOCUMENT_STRATEGIES } as const
const TAGS = ['documents'] as const
const NODES = { type: 'array', items: { type: 'string' } } as const

/** For the description alone: requests are checked by the routes, whose words are clearer. */
export const WRITE_SCHEMA = {
  tags: TAGS,
  summary: 'Writes a document',
  consumes: ['application/json'],
  querystring: {
    type: 'object',
    required: ['key'],
    properties: {
      key: { type: 'string', description: '1 to 1024 bytes' },
      strategy: { ...STRATEGY, default: 'replication' },
      hot_only: {
        type: 'boolean',
        default: false,
        description: 'Only the hot fields of the body are written, into the document there is',
      },
    },
  },
  body: { type: 'object', additionalProperties: true },
  response: {
    200: {
      description: 'It is durable, and read from now on',
      type: 'object',
      required: ['status', 'key', 'strategy', 'latency_ms', 'partial'],
      properties: {
        status: { type: 'string' },
        key: { type: 'string' },
        strategy: STRATEGY,
        latency_ms: { type: 'number' },
        partial: { type: 'boolean', description: 'Copies or shards are made up for later' },
        nodes_written: NODES,
        chunks_written: { type: 'integer' },
        total_chunks: { type: 'integer' },
        operation_type: { type: 'string', enum: ['Pure Hot Update', 'Cold Update'] },
        is_pure_hot_update: { type: 'boolean' },
        hot_nodes_written: { type: 'integer' },
        cold_chunks_written: { type: 'integer' },
        cold_fields_ignored: NODES,
      },
    },
    ...errorSchemas(400, 404, 409, 413, 415, 422, 500, 503),
  },
} as const

export const READ_SCHEMA = {
  tags: TAGS,
  summary: 'Reads a document',
  params: KEY,
  response: {
    200: { description: 'The JSON object', type: 'object', additionalProperties: true },
    ...errorSchemas(404, 422, 500, 503),
  },
} as const

export const DELETE_SCHEMA = {
  tags: TAGS,
  summary: 'Deletes a document',
  params: KEY,
  response: {
    200: {
      description: 'It is gone',
      type: 'object',
      required: ['status', 'key', 'strategy'],
      properties: {
        status: { type: 'string' },
        key: { type: 'string' },
        strategy: STRATEGY,
        hot_nodes_deleted: { type: 'integer' },
        cold_chunks_deleted: { type: 'integer' },
      },
    },
    ...errorSchemas(404, 500, 503),
  },
} as const

export const HEALTH_SCHEMA = {
  tags: TAGS,
  summary: 'Says that this gateway answers',
  response: {
    200: {
      description: 'It does',
      type: 'object',
      properties: {
        status: { type: 'string' },
        service: { type: 'string' },
        hostname: { type: 'string' },
      },
    },
  },
} as const

export const NODE_STATUS_SCHEMA = {
  tags: TAGS,
  summary: 'How each volume server is',
  response: {
    200: {
      description: 'By server: healthy, unhealthy, leaving, draining or flapping',
      type: 'object',
      additionalProperties: { type: 'string' },
    },
    ...errorSchemas(503),
  },
} as const

export const STORAGE_USAGE_SCHEMA = {
  tags: TAGS,
  summary: 'What documents take on the servers',
  response: {
    200: {
      description: 'In bytes',
      type: 'object',
      properties: {
        total_system_size: { type: 'integer', description: 'All copies and shards' },
        garbage: { type: 'integer', description: 'Deleted, and still on disk' },
        documents: { type: 'integer' },
        document_bytes: { type: 'integer', description: 'Of the documents themselves' },
        nodes: {
          type: 'object',
          description: 'As reported last',
          additionalProperties: {
            type: 'object',
            properties: { live: { type: 'integer' }, garbage: { type: 'integer' } },
          },
        },
      },
    },
    ...errorSchemas(503),
  },
} as const
