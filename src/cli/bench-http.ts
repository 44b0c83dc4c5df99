import { Agent, type Dispatcher, request } from 'undici'
import { quote, StoreError } from '../base/store-error.ts'
import type { BenchTarget } from './bench-run.ts'

interface Assigned {
  readonly fid: string
  readonly url: string
  readonly auth: string
}

/** What has not been answered by then has failed. */
const ANSWER_MS_MAX = 30_000

/**
 * Any server of the dialect, over plain HTTP: assign at the master, then volume server directly.
 * When the run is called off, requests under way are finished.
 */
export class HttpBenchTarget implements BenchTarget {
  readonly #master: string
  readonly #agent: Agent
  readonly #query: string
  /** Where the volumes are. */
  readonly #urls = new Map<string, string>()

  constructor(master: string, options: { readonly concurrency: number; readonly query: string }) {
    this.#master = master
    this.#query = options.query
    this.#agent = new Agent({
      connections: options.concurrency,
      pipelining: 1,
      headersTimeout: ANSWER_MS_MAX,
      bodyTimeout: ANSWER_MS_MAX,
    })
  }

  async write(data: Buffer): Promise<string> {
    const { fid, url, auth } = await this.#assign()
    this.#urls.set(volumeOf(fid), url)
    const headers = {
      'content-type': 'application/octet-stream',
      ...(auth !== '' && { authorization: `Bearer ${auth}` }),
    }
    const options = { method: 'PUT' as const, headers, body: data }
    const answer = await this.#send(`http://${url}/${fid}`, options)
    await answer.body.dump()
    return fid
  }

  async read(fileId: string): Promise<number> {
    const url = this.#urls.get(volumeOf(fileId)) ?? (await this.#lookup(fileId))
    const answer = await this.#send(`http://${url}/${fileId}`, { method: 'GET' })
    let bytes = 0
    for await (const piece of answer.body) bytes += (piece as Buffer).length
    return bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.close()
  }

  async #assign(): Promise<Assigned> {
    const query = this.#query === '' ? '' : `?${this.#query}`
    const answer = await this.#ask(`/dir/assign${query}`)
    const { fid, url, publicUrl, auth } = answer
    const address = typeof publicUrl === 'string' && publicUrl !== '' ? publicUrl : url
    if (typeof fid !== 'string' || typeof address !== 'string') {
      throw new StoreError('PEER_FAILED', `no file id in ${quote(JSON.stringify(answer))}`)
    }
    return { fid, url: address, auth: typeof auth === 'string' ? auth : '' }
  }

  async #lookup(fileId: string): Promise<string> {
    const { locations } = await this.#ask(`/dir/lookup?volumeId=${volumeOf(fileId)}`)
    const [first] = Array.isArray(locations) ? (locations as unknown[]) : []
    const url =
      typeof first === 'object' && first !== null && 'url' in first ? first.url : undefined
    if (typeof url !== 'string') throw new StoreError('VOLUME_NOT_FOUND', `no server for ${fileId}`)
    this.#urls.set(volumeOf(fileId), url)
    return url
  }

  async #ask(path: string): Promise<Readonly<Record<string, unknown>>> {
    const answer = await this.#send(`http://${this.#master}${path}`, { method: 'GET' })
    const text = await answer.body.text()
    try {
      const value: unknown = JSON.parse(text)
      return typeof value === 'object' && value !== null ? { ...value } : {}
    } catch (cause) {
      throw new StoreError('PEER_FAILED', `${path} answers ${quote(text)}`, { cause })
    }
  }

  async #send(
    url: string,
    options: Omit<Dispatcher.RequestOptions, 'path' | 'origin'>,
  ): Promise<Dispatcher.ResponseData> {
    const answer = await reach(url, () => request(url, { ...options, dispatcher: this.#agent }))
    if (answer.statusCode < 300) return answer
    await answer.body.dump()
    throw new StoreError('PEER_FAILED', `status ${answer.statusCode} from ${url}`)
  }
}

function volumeOf(fileId: string): string {
  return fileId.slice(0, fileId.indexOf(','))
}

async function reach<Answer>(url: string, send: () => Promise<Answer>): Promise<Answer> {
  try {
    return await send()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new StoreError('UNAVAILABLE', `${url} cannot be reached: ${why}`, { cause })
  }
}
