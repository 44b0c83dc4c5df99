import type { Limit } from './limit.ts'
import { MIB } from './units.ts'

/** Bounds of objects over REST. See `LIMITS`. */
export const REST_LIMITS = {
  restBodyBytesMax: {
    value: MIB,
    unit: 'bytes',
    reason: 'bodies that are no files are JSON of a few values; a route may set its own',
    atLimit: 'the request is answered with 413',
  },
  objectsHeldBytes: {
    value: MIB,
    unit: 'bytes',
    reason: 'held in one piece, an object is stored and sent with the fewest steps',
    atLimit: 'larger objects are stored and sent as they come',
  },
  objectFormBytesMax: {
    value: 2 * MIB,
    unit: 'bytes',
    reason: 'other fields, and the boundaries and headers of all: far more than any form has',
    atLimit: 'a body that is announced to be so much longer than the largest file is not read',
  },
  requestRecoveriesKept: {
    value: 1000,
    unit: 'recoveries',
    reason: 'the times of each are shown; a server is recovered once in months',
    atLimit: 'the oldest one is forgotten',
  },
} as const satisfies Readonly<Record<string, Limit>>
