import type { Limit } from './limit.ts'
import { MIB } from './units.ts'

/** Bounds of the gateway of documents. See `LIMITS`. */
export const DOCUMENT_LIMITS = {
  documentBytes: {
    value: 16 * MIB,
    unit: 'bytes',
    reason: 'a document is held in memory while it is checked; most have a few kilobytes',
    atLimit: 'the write is answered with 413, unless the gateway was told another limit',
  },
  documentBytesMax: {
    value: 256 * MIB,
    unit: 'bytes',
    reason: 'two of these fit the memory of a small server; more is what S3 is for',
    atLimit: 'a higher limit for documents is refused with CONFIG_INVALID',
  },
  documentsHeldBytes: {
    value: 512 * MIB,
    unit: 'bytes',
    reason: 'bodies in memory of all writes together, in up to three forms each',
    atLimit: 'further writes are refused with OVERLOADED; also when the largest needs more',
  },
  documentReadWholeBytes: {
    value: MIB,
    unit: 'bytes',
    reason: 'read in one piece, so that a reader never sees half of a failure',
    atLimit: 'larger documents are sent as they are read',
  },
  jsonDepthMax: {
    value: 200,
    unit: 'levels',
    reason: 'far deeper than people nest; each level may cost one more copy of what is in it',
    atLimit: 'the document is refused with REQUEST_INVALID',
  },
  jsonMembersMax: {
    value: 65_536,
    unit: 'fields',
    reason: 'of one object: they are sorted in memory, in a fifth of a second',
    atLimit: 'the document is refused with REQUEST_INVALID, if it is to be split into fields',
  },
  documentTriesMax: {
    value: 8,
    unit: 'tries',
    reason: 'writes of one document by several gateways at once: each try sees who won before',
    atLimit: 'the request is refused with OVERLOADED',
  },
  documentWritersMax: {
    value: 4096,
    unit: 'writes',
    reason: 'those of one document wait for each other; a second of work at most',
    atLimit: 'the write is refused with OVERLOADED',
  },
  documentsCounted: {
    value: 100_000,
    unit: 'documents',
    reason: 'a second of work for the figures of storage use',
    atLimit: 'the figures are those that volume servers reported last',
  },
} as const satisfies Readonly<Record<string, Limit>>
