/**
 * What to store of a Content-Encoding. `aws-chunked` describes the request, not the object, so it
 * alone is taken out: `gzip, aws-chunked` is stored as `gzip`. Undefined: nothing is left.
 */
export function storedContentEncoding(contentEncoding: string | undefined): string | undefined {
  if (contentEncoding === undefined) return undefined
  const codings = contentEncoding
    .split(',')
    .map((coding) => coding.trim())
    .filter((coding) => coding !== '' && coding.toLowerCase() !== 'aws-chunked')
  return codings.length === 0 ? undefined : codings.join(', ')
}
