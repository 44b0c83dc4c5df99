import type { IncomingMessage } from 'node:http'
import { isStoreError } from '../base/store-error.ts'
import { CLUSTER_AUTH_HEADER, type ClusterAuth, splitProof } from '../net/cluster-auth.ts'

export type SignedRequest = Pick<IncomingMessage, 'method' | 'url' | 'headers'>

/** Whether a request was signed with the cluster secret: in a header, or in its target. */
export function isFromCluster(auth: ClusterAuth, req: SignedRequest): boolean {
  const { target, proof } = splitProof(req.url ?? '')
  const value = proof ?? req.headers[CLUSTER_AUTH_HEADER]
  if (typeof value !== 'string') return false
  try {
    auth.verifyHttp(req.method ?? '', target, value)
    return true
  } catch (error) {
    if (isStoreError(error, 'UNAUTHENTICATED')) return false
    throw error
  }
}
