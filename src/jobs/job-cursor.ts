import type { NodeLocation } from '../net/master-api.ts'
import type { VolumeExtent } from '../net/volume-api.ts'

export type CursorFields = Readonly<Record<string, unknown>>

/**
 * The fields of a cursor. Another release may have written it: what cannot be read is left out, and
 * the job begins anew there, which is always allowed.
 */
export function readCursor(cursor: string): CursorFields {
  if (cursor === '') return {}
  try {
    return asFields(JSON.parse(cursor)) ?? {}
  } catch {
    return {} // Not JSON: written by another release.
  }
}

export function asFields(value: unknown): CursorFields | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return value as CursorFields
}

export function asText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

export function asCount(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}

export function asTexts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

export function asExtent(value: unknown): VolumeExtent | undefined {
  const fields = asFields(value)
  const datBytes = asCount(fields?.['datBytes'])
  const compactionRevision = asCount(fields?.['compactionRevision'])
  if (datBytes === undefined || compactionRevision === undefined) return undefined
  return { datBytes, compactionRevision }
}

export function asLocation(value: unknown): NodeLocation | undefined {
  const fields = asFields(value)
  const url = asText(fields?.['url'])
  const publicUrl = asText(fields?.['publicUrl'])
  const grpcAddress = asText(fields?.['grpcAddress'])
  const dataCenter = asText(fields?.['dataCenter'])
  const rack = asText(fields?.['rack'])
  if (url === undefined || publicUrl === undefined || grpcAddress === undefined) return undefined
  if (dataCenter === undefined || rack === undefined) return undefined
  return { url, publicUrl, grpcAddress, dataCenter, rack }
}
