import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a webhook answers: a status, or nothing at all. */
export type WebhookAnswer = number | 'silence' | 'cut'

/** The parts of a record that tests look at. */
export interface SentRecord {
  readonly eventName: string
  readonly s3: {
    readonly configurationId: string
    readonly bucket: { readonly name: string }
    readonly object: {
      readonly key: string
      readonly size?: number
      readonly eTag?: string
      readonly versionId?: string
      readonly sequencer: string
    }
  }
  readonly userIdentity: { readonly principalId: string }
  readonly requestParameters: { readonly sourceIPAddress: string }
  readonly responseElements: { readonly 'x-amz-request-id': string }
}

/** A webhook on a port of its own that writes down what it is sent. */
export class WebhookServer implements AsyncDisposable {
  /** In the order in which they came, those that were refused too. */
  readonly records: SentRecord[] = []
  readonly headers: IncomingHttpHeaders[] = []
  readonly paths: string[] = []
  /** What the next one is answered; 200 unless it says otherwise. */
  answer: (record: SentRecord) => WebhookAnswer = () => 200
  readonly port: number
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
  }

  static async open(port = 0): Promise<WebhookServer> {
    const late: { opened?: WebhookServer } = {}
    const server = createServer((req, res) => {
      const pieces: Buffer[] = []
      req.on('data', (piece: Buffer) => pieces.push(piece))
      req.on('end', () => {
        const { opened } = late
        const [record] = JSON.parse(Buffer.concat(pieces).toString('utf8')).Records
        opened?.records.push(record)
        opened?.headers.push(req.headers)
        opened?.paths.push(`${req.method} ${req.url}`)
        const answer = opened?.answer(record) ?? 200
        if (answer === 'silence') return
        if (answer === 'cut') return void res.destroy()
        const location = answer >= 300 && answer < 400 ? { location: '/elsewhere' } : {}
        res.writeHead(answer, location).end('an answer that nobody reads')
      })
    })
    await new Promise<void>((resolve) => {
      server.listen(port, '127.0.0.1', resolve)
    })
    late.opened = new WebhookServer(server)
    return late.opened
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/hook`
  }

  /** Names and keys, in order. */
  get told(): string[] {
    return this.records.map(({ eventName, s3 }) => `${eventName} ${s3.object.key}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => {
      this.#server.close(resolve)
    })
  }
}
