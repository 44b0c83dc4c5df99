import { CLIENT_LIMITS } from './client-limits.ts'
import { CLUSTER_LIMITS } from './cluster-limits.ts'
import { DOCUMENT_LIMITS } from './document-limits.ts'
import { FILES_LIMITS } from './files-limits.ts'
import type { Limit } from './limit.ts'
import { NET_LIMITS } from './net-limits.ts'
import { REST_LIMITS } from './rest-limits.ts'
import { STORAGE_LIMITS } from './storage-limits.ts'

/** Every bound in the program, in one place. docs/LIMITS.md shows the same table. */
export const LIMITS = {
  ...STORAGE_LIMITS,
  ...NET_LIMITS,
  ...CLUSTER_LIMITS,
  ...CLIENT_LIMITS,
  ...REST_LIMITS,
  ...DOCUMENT_LIMITS,
  ...FILES_LIMITS,
} as const satisfies Readonly<Record<string, Limit>>

export type LimitName = keyof typeof LIMITS
