import { type FileId, formatFileId, parseFileId, parseFileIdPath } from '../base/file-id.ts'
import { cookie, parseVolumeId, type VolumeId } from '../base/ids.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import { awaitsContinue, dropBody, HTTP_STATUS, sendError, sendJson } from '../net/http-reply.ts'
import type { NodeLocation, VolumeLocations } from '../net/master-api.ts'
import { readAssignRequest, readFlag } from './http-options.ts'
import type { MasterExchange, MasterHttpConfig, MasterHttpParts } from './http-parts.ts'

/** Where this route's status is not the usual one of a code. */
const ASSIGN_STATUS: Partial<Record<ErrorCode, number>> = {
  REQUEST_INVALID: 406,
  TTL_INVALID: 406,
  REPLICA_PLACEMENT_INVALID: 406,
  CONFIG_INVALID: 406,
  NO_WRITABLE_VOLUME: 406,
  PLACEMENT_IMPOSSIBLE: 406,
  NODE_NOT_FOUND: 400,
  OVERLOADED: 503, // Growth is under way: others wait for it already.
  TIMEOUT: 408,
}

/** Answers an option that cannot be used with 406, as the dialect does where it assigns. */
export function sendAssignError(
  { logger }: MasterHttpParts,
  { res }: MasterExchange,
  error: unknown,
): void {
  const status = isStoreError(error) ? ASSIGN_STATUS[error.code] : undefined
  sendError(res, error, { logger, status })
}

/** `/dir/assign`: file ids of one volume, and a server to write them to. */
export async function answerAssign(parts: MasterHttpParts, exchange: MasterExchange) {
  try {
    const lease = await parts.api.assign(readAssignRequest(exchange.query), exchange.signal)
    const location = pickLocation(parts, lease.locations)
    if (location === undefined) {
      throw new StoreError('NO_WRITABLE_VOLUME', `volume ${lease.volumeId} is out of reach`)
    }
    const fid = formatFileId({
      volumeId: lease.volumeId,
      needleId: lease.firstNeedleId,
      cookie: cookie(parts.random.u32()),
    })
    const { url, publicUrl } = location
    const body = { fid, url, publicUrl, count: lease.count }
    sendJson(exchange.res, 200, body, bearer(lease.writeToken))
  } catch (error) {
    sendAssignError(parts, exchange, error)
  }
}

/** `/dir/lookup`: the servers that hold a volume; with a file id, also a token for that file. */
export async function answerLookup(
  parts: MasterHttpParts,
  config: MasterHttpConfig,
  exchange: MasterExchange,
) {
  const { query, res, signal } = exchange
  const fileIdText = query.get('fileId') ?? ''
  const [asked = ''] = (fileIdText === '' ? (query.get('volumeId') ?? '') : fileIdText).split(',')
  try {
    const collection = query.get('collection') ?? ''
    const volume = await findVolume(parts, parseVolumeId(asked), collection, signal)
    const locations = volume.locations.map(locationEntry)
    const token = tokenFor(parts, config, fileIdText, readFlag(query, 'read'))
    sendJson(res, 200, { volumeOrFileId: asked, locations }, bearer(token))
  } catch (error) {
    if (!isStoreError(error)) throw error
    const { code, message } = error
    const status = HTTP_STATUS[code]
    const headers = status === 503 ? { 'Retry-After': 1 } : {}
    sendJson(res, status, { volumeOrFileId: asked, error: message, code }, headers)
  }
}

/** `/{file id}`: the client is sent to a server that holds the volume, path and query as is. */
export async function redirectFileId(parts: MasterHttpParts, exchange: MasterExchange) {
  const { path, search, query, signal } = exchange
  const { fileId } = parseFileIdPath(path)
  const collection = query.get('collection') ?? ''
  const { locations } = await findVolume(parts, fileId.volumeId, collection, signal)
  const location = pickLocation(parts, locations)
  if (location === undefined) throw outOfReach(fileId.volumeId)
  redirect(exchange, 308, `http://${location.publicUrl}${path}${search}`)
}

/** A client that follows sends its body there: what it has sent here is dropped. */
export function redirect({ req, res }: MasterExchange, status: 302 | 308, target: string): void {
  const isUnsent = awaitsContinue(req)
  if (!isUnsent) dropBody(req)
  const headers = { Location: target, 'Content-Length': 0 }
  res.writeHead(status, isUnsent ? { ...headers, Connection: 'close' } : headers)
  res.end()
}

/** @throws {StoreError} VOLUME_NOT_FOUND: unknown, or on no server. WARMING_UP: perhaps soon. */
export async function findVolume(
  { api }: MasterHttpParts,
  volumeId: VolumeId,
  collection: string,
  signal: AbortSignal,
): Promise<VolumeLocations> {
  const [found] = await api.lookup([volumeId], signal)
  const isOther = collection !== '' && found?.collection !== collection
  if (found !== undefined && !isOther && found.locations.length > 0) return found
  const { isWarming } = await api.status(signal)
  if (isWarming) throw new StoreError('WARMING_UP', 'service warming up, please retry')
  if (found !== undefined && !isOther) throw outOfReach(volumeId)
  throw new StoreError('VOLUME_NOT_FOUND', `volume id ${volumeId} not found`)
}

export function pickLocation(
  { random }: MasterHttpParts,
  locations: readonly NodeLocation[],
): NodeLocation | undefined {
  return locations[random.u32() % Math.max(locations.length, 1)]
}

/** Empty where no token is asked for. */
export function readTokenFor(
  { tokens }: MasterHttpParts,
  { usesReadTokens, tokenSeconds }: MasterHttpConfig,
  fileId: FileId,
): string {
  return usesReadTokens ? (tokens?.mintRead(fileId, tokenSeconds) ?? '') : ''
}

/** Also for writes: this is where the dialect's clients get the token to delete a file with. */
function tokenFor(
  parts: MasterHttpParts,
  config: MasterHttpConfig,
  fileIdText: string,
  isRead: boolean,
): string {
  if (!fileIdText.includes(',')) return ''
  if (isRead && !config.usesReadTokens) return ''
  if (!isRead && !config.usesWriteTokens) return ''
  const fileId = parseFileId(fileIdText)
  if (isRead) return readTokenFor(parts, config, fileId)
  return parts.tokens?.mintWrite(fileId, config.tokenSeconds) ?? ''
}

function locationEntry({ url, publicUrl, dataCenter, grpcAddress }: NodeLocation) {
  const grpcPort = Number(grpcAddress.slice(grpcAddress.lastIndexOf(':') + 1))
  return { url, publicUrl, dataCenter, grpcPort }
}

function bearer(token: string): Record<string, string> {
  return token === '' ? {} : { Authorization: `Bearer ${token}` }
}

function outOfReach(volumeId: VolumeId): StoreError {
  return new StoreError('VOLUME_NOT_FOUND', `volume id ${volumeId} not found on any server now`)
}
