import type { IncomingMessage } from 'node:http'
import { isStoreError } from '../base/store-error.ts'
import { CLUSTER_AUTH_HEADER, type ClusterAuth } from '../net/cluster-auth.ts'

/** Whether a request was signed with the cluster secret. */
export function isFromCluster(auth: ClusterAuth, req: IncomingMessage): boolean {
  const { [CLUSTER_AUTH_HEADER]: value } = req.headers
  if (typeof value !== 'string') return false
  try {
    auth.verifyHttp(req.method ?? '', req.url ?? '', value)
    return true
  } catch (error) {
    if (isStoreError(error, 'UNAUTHENTICATED')) return false
    throw error
  }
}
