import { type IpRange, isInIpRange, parseIpRange } from './access/ip-range.ts'
import type { S3Request } from './s3-request.ts'

/** The other end of a request: of its connection, or as trusted proxies tell it. */
export type RequestClient = Pick<S3Request, 'remoteAddress' | 'isTls'>

/**
 * For whom trusted proxies ask. Each proxy appends whom it heard to `X-Forwarded-For`, so the list
 * is read from its end, and no further than to the first address that is not trusted: what stands
 * before that anybody may have written. The same holds for `X-Forwarded-Proto`, of which only the
 * last value counts. From whoever is not trusted neither is read.
 */
export function originalClient(
  { headers, isTls, remoteAddress }: RequestClient & Pick<S3Request, 'headers'>,
  trusted: readonly IpRange[],
): RequestClient {
  const isTrusted = (address: string) => trusted.some((range) => isInIpRange(range, address))
  if (!isTrusted(remoteAddress)) return { remoteAddress, isTls }
  const addresses = valuesOf(headers.get('x-forwarded-for')).map(withoutPort)
  let client = remoteAddress
  while (isTrusted(client)) {
    const before = addresses.pop()
    // The proxy asks for itself, or for whom it does not know: then it is the one to judge by.
    if (before === undefined || !isAddress(before)) break
    client = before
  }
  const scheme = valuesOf(headers.get('x-forwarded-proto')).pop()?.toLowerCase()
  return { remoteAddress: client, isTls: scheme === undefined ? isTls : scheme === 'https' }
}

function valuesOf(header: string | undefined): string[] {
  return header === undefined ? [] : header.split(',').map((value) => value.trim())
}

function isAddress(text: string): boolean {
  return !text.includes('/') && parseIpRange(text) !== undefined
}

/** `203.0.113.9:4711` and `[2001:db8::1]:443` come from some proxies, and are no addresses. */
function withoutPort(text: string): string {
  const [, bracketed] = /^\[([0-9a-f:.]+)\](?::\d{1,5})?$/i.exec(text) ?? []
  const [, dotted] = /^(\d+\.\d+\.\d+\.\d+):\d{1,5}$/.exec(text) ?? []
  return bracketed ?? dotted ?? text
}
