import type { NodeLocation } from './master-api.ts'
import { invalid, present } from './wire-values.ts'

/** Where a server is, in messages of all services. */
export type WireNode = NodeLocation

export function nodeToWire(node: NodeLocation): WireNode {
  const { url, publicUrl, grpcAddress, dataCenter, rack } = node
  return { url, publicUrl, grpcAddress, dataCenter, rack }
}

/** @throws {StoreError} REQUEST_INVALID: missing, or without a url. */
export function nodeFromWire(wire: WireNode | null): NodeLocation {
  const node = present(wire, 'the location of a server')
  if (node.url === '') throw invalid('a server without a url')
  return nodeToWire(node)
}
