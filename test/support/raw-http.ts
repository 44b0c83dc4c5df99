import { connect, type Socket } from 'node:net'
import type { HttpAddress } from '../../src/net/http-server.ts'

export interface RawAnswer {
  readonly status: number
  readonly reason: string
  readonly headers: RawHeaders
  readonly body: Buffer
}

/** Names in lower case; some that tests look at are spelt out. */
export interface RawHeaders {
  readonly [name: string]: string | undefined
  readonly city?: string
  readonly colour?: string
  readonly connection?: string
  readonly date?: string
  readonly etag?: string
  readonly location?: string
  readonly vary?: string
}

/** Opens a connection; whoever sends what no client library sends uses this. */
export function openSocket(address: HttpAddress): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(address.port, address.host)
    socket.once('connect', () => resolve(socket)).once('error', reject)
  })
}

/** Sends bytes as they are and reads until the server closes or has answered `count` times. */
export async function exchange(
  address: HttpAddress,
  bytes: string | Buffer,
  count = 1,
  isHead = false,
): Promise<readonly RawAnswer[]> {
  const socket = await openSocket(address)
  const received: Buffer[] = []
  try {
    await new Promise<void>((resolve) => {
      socket.on('data', (piece) => {
        received.push(piece)
        if (parseAnswers(Buffer.concat(received), isHead).length >= count) resolve()
      })
      socket.on('error', () => resolve())
      socket.on('close', () => resolve())
      socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
    })
  } finally {
    socket.destroy()
  }
  return parseAnswers(Buffer.concat(received), isHead)
}

/** Whole answers only. */
export function parseAnswers(bytes: Buffer, isHead = false): readonly RawAnswer[] {
  const answers: RawAnswer[] = []
  let rest = bytes
  for (;;) {
    const end = rest.indexOf('\r\n\r\n')
    if (end < 0) return answers
    const [first = '', ...lines] = rest.toString('latin1', 0, end).split('\r\n')
    const [, status = '', reason = ''] = /^HTTP\/1\.1 (\d{3}) ?(.*)$/.exec(first) ?? []
    const headers: Record<string, string> = {}
    for (const line of lines) {
      const colon = line.indexOf(':')
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
    }
    rest = rest.subarray(end + 4)
    const hasBody = !isHead && Number(status) >= 200 && !['204', '304'].includes(status)
    const taken = hasBody ? takeBody(rest, headers) : { body: Buffer.alloc(0), length: 0 }
    if (taken === undefined) return answers
    rest = rest.subarray(taken.length)
    answers.push({ status: Number(status), reason, headers, body: taken.body })
  }
}

function takeBody(
  rest: Buffer,
  headers: RawHeaders,
): { readonly body: Buffer; readonly length: number } | undefined {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
  if (encoding === undefined) {
    const bytes = Number(length)
    return rest.length < bytes ? undefined : { body: rest.subarray(0, bytes), length: bytes }
  }
  const pieces: Buffer[] = []
  let at = 0
  for (;;) {
    const lineEnd = rest.indexOf('\r\n', at)
    if (lineEnd < 0) return undefined
    const bytes = Number.parseInt(rest.toString('latin1', at, lineEnd), 16)
    const next = lineEnd + 2 + bytes + 2
    if (rest.length < next) return undefined
    if (bytes === 0) return { body: Buffer.concat(pieces), length: next }
    pieces.push(rest.subarray(lineEnd + 2, lineEnd + 2 + bytes))
    at = next
  }
}
