import { formatFileId } from '../base/file-id.ts'
import { hex8 } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import { sendJson } from '../net/http-reply.ts'
import { formBoundary, readFormFile } from '../net/multipart.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import { readAssignRequest } from './http-options.ts'
import type { MasterExchange, MasterHttpConfig, MasterHttpParts } from './http-parts.ts'
import { readRequestBody, storeUpload } from './http-upload.ts'

/** `/submit`: assigns an id and stores the file of a form, or the body, in one request. */
export async function answerSubmit(
  parts: MasterHttpParts,
  config: MasterHttpConfig,
  { req, res, query, signal }: MasterExchange,
) {
  const assign = readAssignRequest(query)
  const body = readRequestBody(req, config.submitBytesMax)
  const contentType = req.headers['content-type'] ?? ''
  const file = /^multipart\/form-data\b/i.test(contentType)
    ? await readFormFile(body, formBoundary(contentType))
    : { fileName: query.get('name') ?? '', mime: contentType, data: body }
  const upload = {
    assign,
    metadata: {
      ...storedMime(file.mime),
      ...(file.fileName === '' ? {} : { name: file.fileName }),
      lastModifiedS: readTime(query) ?? Math.floor(parts.clock.nowMs() / 1000),
      ttl: assign.ttl,
    },
    source: file.data,
  }
  const { fileId, location, answer } = await storeUpload(parts, upload, signal)
  const fid = formatFileId(fileId)
  sendJson(res, 201, {
    eTag: hex8(answer.checksum),
    fid,
    fileName: file.fileName,
    fileUrl: `${location.publicUrl}/${fid}`,
    size: answer.dataBytes,
  })
}

/** What curl and browsers say when they were told nothing is not worth keeping. */
export function storedMime(contentType: string): Pick<NeedleMetadata, 'mime'> {
  const isDefault = /^(?:application\/(?:x-www-form-urlencoded|octet-stream)\b|$)/i
  return isDefault.test(contentType) ? {} : { mime: contentType }
}

function readTime(query: URLSearchParams): number | undefined {
  const text = query.get('ts') ?? ''
  if (text === '') return undefined
  if (/^\d{1,12}$/.test(text)) return Number(text)
  throw new StoreError('REQUEST_INVALID', 'ts is not a time in seconds since 1970')
}
