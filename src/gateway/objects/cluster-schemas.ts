import { errorSchemas } from '../rest/rest-schemas.ts'

const TAGS = ['cluster']

const NUMBERS = { type: 'object', additionalProperties: { type: 'integer' } } as const

export const STATS_SCHEMA = {
  tags: TAGS,
  summary: 'Servers, objects and their bytes',
  response: {
    200: {
      description: 'The servers by region and by name, and what they hold',
      type: 'object',
      properties: {
        total_nodes: { type: 'integer' },
        nodes_by_region: NUMBERS,
        total_objects: { type: 'integer' },
        total_size: { type: 'integer' },
        node_stats: {
          type: 'object',
          additionalProperties: {
            type: 'object',
            properties: {
              region: { type: 'string' },
              rack: { type: 'string' },
              status: { type: 'string' },
              volumes: { type: 'integer' },
              needles: { type: 'integer' },
              used_bytes: { type: 'integer' },
              free_bytes: { type: 'integer' },
              total_bytes: { type: 'integer' },
            },
          },
        },
      },
    },
    ...errorSchemas(500, 503),
  },
} as const

export const HEALTH_SCHEMA = {
  tags: TAGS,
  summary: 'Whether all objects are safe',
  response: {
    200: {
      description: '`degraded`: all can be read, with less to spare. `error`: some may not be',
      type: 'object',
      properties: {
        status: { type: 'string', enum: ['healthy', 'degraded', 'error'] },
        failed_nodes: { type: 'array', items: { type: 'string' } },
        message: { type: 'string' },
      },
    },
  },
} as const

export const RECOVERY_SCHEMA = {
  tags: TAGS,
  summary: 'Make anew, elsewhere, what a server held',
  description: 'Answered when it is done.',
  params: {
    type: 'object',
    properties: { node_id: { type: 'string', description: 'As in `/cluster/stats`' } },
  },
  response: {
    200: {
      description: 'What was made, and how long it took',
      type: 'object',
      properties: {
        message: { type: 'string' },
        node_id: { type: 'string' },
        objects: { type: 'integer' },
        shards: { type: 'integer' },
        replicas: { type: 'integer' },
        recovery_time_ms: { type: 'number' },
      },
    },
    ...errorSchemas(404, 500),
  },
} as const
