import { LIMITS } from '../../base/limits.ts'
import { errorSchemas } from '../rest/rest-schemas.ts'

const TAGS = ['objects']

const KEY = {
  type: 'object',
  properties: {
    key: {
      type: 'string',
      description: 'The key: 1 to 1,024 bytes of UTF-8, slashes percent-encoded or not',
    },
  },
} as const

const MESSAGE = { message: { type: 'string' } } as const
const BYTES = { type: 'string', format: 'binary' } as const

export const UPLOAD_BODY = {
  type: 'object',
  required: ['file'],
  properties: { file: { ...BYTES, description: 'The object' } },
} as const

export const UPLOAD_SCHEMA = {
  tags: TAGS,
  summary: 'Store an object, or overwrite it',
  description: 'A form with one field `file`. Durable when it is answered.',
  consumes: ['multipart/form-data'],
  params: KEY,
  querystring: {
    type: 'object',
    properties: {
      content_type: {
        type: 'string',
        minLength: 1,
        maxLength: 255,
        pattern: '^[\\x20-\\x7e]+$',
        description: 'What the object is served as; unless given, the type of the field',
      },
    },
  },
  response: {
    200: {
      description: 'It is stored',
      type: 'object',
      properties: { ...MESSAGE, size: { type: 'integer' } },
    },
    ...errorSchemas(400, 413, 415, 422, 500, 503),
  },
} as const

export const DOWNLOAD_SCHEMA = {
  tags: TAGS,
  summary: 'The bytes of an object',
  description: 'All of them, or one range. HEAD gives the headers alone.',
  produces: ['application/octet-stream'],
  params: KEY,
  response: {
    200: { description: 'All bytes', ...BYTES },
    206: { description: 'The range', ...BYTES },
    ...errorSchemas(400, 404, 412, 416, 500, 503),
  },
} as const

export const DELETE_SCHEMA = {
  tags: TAGS,
  summary: 'Delete an object',
  params: KEY,
  response: {
    200: { description: 'It is gone', type: 'object', properties: MESSAGE },
    ...errorSchemas(400, 404, 500, 503),
  },
} as const

export const INFO_SCHEMA = {
  tags: TAGS,
  summary: 'What is known of an object beside its bytes',
  params: KEY,
  response: {
    200: {
      description: 'Facts about the object',
      type: 'object',
      properties: {
        key: { type: 'string' },
        size: { type: 'integer' },
        content_type: { type: 'string' },
        created_at: { type: 'string', description: 'When the key was first written' },
        updated_at: { type: 'string', description: 'When it was written last' },
        version: { type: 'integer', description: 'How often it was written' },
        checksum: {
          anyOf: [{ type: 'string' }, { type: 'null' }],
          description: 'SHA-256 in hex',
        },
      },
    },
    ...errorSchemas(400, 404, 500, 503),
  },
} as const

export const LIST_SCHEMA = {
  tags: TAGS,
  summary: 'Keys in the order of their bytes',
  querystring: {
    type: 'object',
    properties: {
      prefix: { type: 'string', maxLength: LIMITS.fileNameMax.value, default: '' },
      after: {
        type: 'string',
        maxLength: LIMITS.fileNameMax.value,
        default: '',
        description: 'Only keys behind this one',
      },
      limit: {
        type: 'integer',
        minimum: 1,
        maximum: LIMITS.listNamesMax.value,
        description: 'At most so many; all unless given',
      },
    },
  },
  response: {
    200: {
      description: 'The keys; `next` only when more follow, to be given as `after`',
      type: 'object',
      properties: {
        objects: { type: 'array', items: { type: 'string' } },
        count: { type: 'integer' },
        next: { type: 'string' },
      },
    },
    ...errorSchemas(422, 500, 503),
  },
} as const
