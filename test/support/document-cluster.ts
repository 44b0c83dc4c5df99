import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { request } from 'undici'
import { formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { tokensOf } from '../../src/client/file-tokens.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import type { DocumentPhase } from '../../src/gateway/documents/document-files.ts'
import { DOCUMENTS } from '../../src/gateway/documents/documents-config.ts'
import { namedFiles } from '../../src/gateway/named-needles.ts'
import { checkNamespace, type NamespaceReport } from '../../src/gateway/namespace-check.ts'
import {
  collectOrphans,
  type OrphanParts,
  type OrphanReport,
} from '../../src/gateway/orphan-collector.ts'
import { RemoteNamespace } from '../../src/gateway/remote-namespace.ts'
import { readClusterSecret } from '../../src/net/cluster-secret.ts'
import { RemoteJobs } from '../../src/net/remote-jobs.ts'
import { RemoteMaster } from '../../src/net/remote-master.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import type { DocumentWrite, TestDocument } from './document-ledger.ts'
import { ClusterProcesses, freePorts, ServerProcess } from './server-process.ts'
import { openTempDirectory } from './temp-directory.ts'

const NEVER = new AbortController().signal
const HYBRID_GATEWAY = fileURLToPath(new URL('../crash/hybrid-gateway.mjs', import.meta.url))
const GRPC_OFFSET = 10_000
const VOLUME_SERVERS = 6
const LIST_LIMIT = 1000
const POLL_MS = 200
const TRIES_MAX = 20
const MOVED = ['CLOSED', 'VOLUME_NOT_FOUND', 'VOLUME_CHANGED', 'UNAVAILABLE'] as const

/** What came of a request. */
export interface Answer {
  /** 0: the connection broke. */
  readonly status: number
  readonly text: string
}

/** Documents of one gateway over HTTP. */
export class DocumentDoor {
  readonly url: string

  constructor(url: string) {
    this.url = url
  }

  async write({ body, query }: DocumentWrite): Promise<Answer> {
    const headers = { 'content-type': 'application/json' }
    return await this.#ask('POST', `/write?${query}`, { headers, body })
  }

  async read(key: string): Promise<Answer> {
    return await this.#ask('GET', `/read/${encodeURIComponent(key)}`)
  }

  /** Undefined: there is none. @throws for any other answer. */
  async fields(key: string): Promise<TestDocument['fields'] | undefined> {
    const { status, text } = await this.read(key)
    if (status === 404) return undefined
    if (status !== 200) throw new Error(`${key} cannot be read: ${status} ${text}`)
    return JSON.parse(text) as TestDocument['fields']
  }

  async delete(key: string): Promise<Answer> {
    return await this.#ask('DELETE', `/delete/${encodeURIComponent(key)}`)
  }

  async storageUsage(): Promise<{ readonly total_system_size: number }> {
    const { status, text } = await this.#ask('GET', '/storage_usage')
    if (status !== 200) throw new Error(`no figures: ${status} ${text}`)
    return JSON.parse(text) as { total_system_size: number }
  }

  async #ask(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    more: { readonly headers?: Record<string, string>; readonly body?: string } = {},
  ): Promise<Answer> {
    try {
      const answer = await request(`${this.url}${path}`, { method, ...more })
      return { status: answer.statusCode, text: await answer.body.text() }
    } catch (error) {
      return { status: 0, text: String(error) }
    }
  }
}

interface NeedleParts extends OrphanParts {
  readonly client: HayloftClient
  readonly master: RemoteMaster
}

/** Six volume servers, a master, a worker and gateways: each a process of its own. */
export class DocumentCluster implements AsyncDisposable {
  readonly processes: ClusterProcesses
  readonly worker: ServerProcess
  readonly namespace: RemoteNamespace
  readonly jobs: RemoteJobs
  readonly #orphanParts: NeedleParts
  readonly #owned: DisposeStack

  private constructor(
    parts: {
      readonly processes: ClusterProcesses
      readonly worker: ServerProcess
      readonly orphanParts: NeedleParts
      readonly namespace: RemoteNamespace
      readonly jobs: RemoteJobs
    },
    owned: DisposeStack,
  ) {
    this.processes = parts.processes
    this.worker = parts.worker
    this.namespace = parts.namespace
    this.jobs = parts.jobs
    this.#orphanParts = parts.orphanParts
    this.#owned = owned
  }

  static async start(): Promise<DocumentCluster> {
    await using opening = new DisposeStack()
    const directory = opening.use(await openTempDirectory()).path
    const quick = ['--heartbeat', '500ms', '--check', '1s', '--job-lease', '2s']
    const healing = ['--heal-interval', '10s', '--politeness', '0', '--workers', '0']
    const calm = ['--garbage-threshold', '1']
    const processes = opening.use(
      await ClusterProcesses.start({
        directory,
        volumeServers: VOLUME_SERVERS,
        masterFlags: [...quick, ...healing, ...calm],
      }),
    )
    const { masterAddress, masterPort, masterUrl, secretFile } = processes
    const place = ['--master', masterAddress, '--secret-file', secretFile]
    const worker = opening.use(
      await ServerProcess.start({ args: ['worker', ...place], readyUrl: `${masterUrl}/healthz` }),
    )
    const shared = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
    const secret = await readClusterSecret(new NodeDisk(), secretFile)
    const addresses = [`127.0.0.1:${masterPort + GRPC_OFFSET}`]
    const config = { addresses, secret, timeoutMs: 10_000 }
    const namespace = opening.use(await RemoteNamespace.open(shared, config))
    const jobs = opening.use(await RemoteJobs.open(shared, config))
    const master = opening.use(await RemoteMaster.open(shared, config))
    const { connect } = opening.use(await VolumeConnections.open(shared, { secret }))
    const tokens = tokensOf(secret, systemClock)
    const client = opening.use(HayloftClient.over({ ...shared, master, connect, tokens }))
    const orphanParts = { namespace, client, master, connect, tokens, clock: systemClock }
    const parts = { processes, worker, namespace, jobs, orphanParts }
    return new DocumentCluster(parts, opening.move())
  }

  /** As its users run it. It is stopped with the cluster. */
  async startGateway(): Promise<ServerProcess & { readonly door: DocumentDoor }> {
    const [port = 0] = await freePorts(1)
    const { masterAddress, secretFile } = this.processes
    const place = ['--master', masterAddress, '--secret-file', secretFile]
    const doors = ['--s3-port', 'off', '--files-port', 'off', '--rest-port', String(port)]
    const url = `http://127.0.0.1:${port}`
    const gateway = this.#owned.use(
      await ServerProcess.start({
        args: ['gateway', ...place, ...doors],
        readyUrl: `${url}/health`,
      }),
    )
    return Object.assign(gateway, { door: new DocumentDoor(url) })
  }

  /** One that dies when a write of it reaches the phase for the n-th time. */
  async startDoomed(phase: DocumentPhase, nth: number): Promise<DoomedGateway> {
    const { masterPort, secretFile } = this.processes
    const master = `127.0.0.1:${masterPort + GRPC_OFFSET}`
    return await DoomedGateway.start(JSON.stringify({ master, secretFile, phase, nth }))
  }

  /** Keys of writes that have neither become a version nor been given up. */
  async intents(): Promise<readonly string[]> {
    const request = { after: '', limit: LIST_LIMIT }
    const { intents } = await this.namespace.listIntents(request, NEVER)
    return intents.map(({ key }) => key)
  }

  async dropped(): Promise<readonly string[]> {
    const request = { after: '', limit: LIST_LIMIT }
    return (await this.namespace.listDropped(request, NEVER)).fileIds
  }

  /** Every row against every needle, and the other way round. */
  async check(): Promise<NamespaceReport> {
    const options = { bucket: undefined, graceMs: 0, problemsMax: 20 }
    return await unlessMoved(() => checkNamespace(this.#orphanParts, options, NEVER))
  }

  /** As gateways do once a day; here twice in a row, and of any age. */
  async collectOrphans(): Promise<void> {
    const forced = { minAgeMs: 0, minAgeFloorMs: 0, passGapMs: 0, isForced: true, isDryRun: false }
    const collect = (seen: OrphanReport['seen']) =>
      unlessMoved(() => collectOrphans(this.#orphanParts, { ...forced, seen }, NEVER))
    const { seen } = await collect({})
    const { refusal } = await collect(seen)
    if (refusal !== undefined) throw new Error(refusal)
  }

  /** Erasure-coded files with two shards on one server. */
  async crowdedFiles(): Promise<readonly string[]> {
    const { client, master } = this.#orphanParts
    const crowded: string[] = []
    for await (const group of namedFiles(this.namespace, DOCUMENTS, NEVER)) {
      for (const { fileId } of group) {
        const text = formatFileId(fileId)
        const shards = await client.shardsOf(text, { signal: NEVER })
        if (shards === undefined) continue
        const volumeIds = shards.fileIds.map((shard) => parseFileId(shard).volumeId)
        const found = await master.lookup(volumeIds, NEVER)
        const urls = found.flatMap(({ locations }) => locations.map(({ url }) => url))
        if (new Set(urls).size < volumeIds.length) crowded.push(`${text}: ${urls.join(' ')}`)
      }
    }
    return crowded
  }

  async until(what: string, isSo: () => Promise<boolean>, withinMs = 60_000): Promise<void> {
    const deadlineMs = performance.now() + withinMs
    while (!(await isSo())) {
      if (performance.now() > deadlineMs) {
        const jobs = await this.jobs.listJobs({ withEnded: true }, NEVER)
        const said = this.processes.master.said.split('\n').slice(-20).join('\n')
        throw new Error(`${what}: not in time\n${JSON.stringify(jobs.slice(-8))}\n${said}`)
      }
      await sleep(POLL_MS)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

/** Again when a volume moved, or was vacuumed, while it was being listed. */
async function unlessMoved<Value>(run: () => Promise<Value>): Promise<Value> {
  for (let tries = 1; ; tries++) {
    try {
      return await run()
    } catch (error) {
      if (tries === TRIES_MAX || !isStoreError(error, ...MOVED)) throw error
      await sleep(POLL_MS)
    }
  }
}

/** A gateway of documents that kills itself. Disposing of it kills it. */
export class DoomedGateway implements AsyncDisposable {
  readonly door: DocumentDoor
  readonly #process: ChildProcess
  readonly #exited: Promise<unknown>

  private constructor(process: ChildProcess, exited: Promise<unknown>, url: string) {
    this.door = new DocumentDoor(url)
    this.#process = process
    this.#exited = exited
  }

  static async start(options: string): Promise<DoomedGateway> {
    const stdio = ['pipe', 'pipe', 'inherit'] as const
    const child = spawn(process.execPath, [HYBRID_GATEWAY, options], { stdio: [...stdio] })
    const exited = once(child, 'exit')
    if (child.stdout === null) throw new Error('a gateway without a pipe')
    for await (const line of createInterface({ input: child.stdout })) {
      const [, url] = /^ready (.+)$/.exec(line) ?? []
      if (url !== undefined) return new DoomedGateway(child, exited, url)
    }
    throw new Error(`the gateway with ${options} was never ready`)
  }

  /** It died by itself, and nothing else ended it. */
  get isDead(): boolean {
    return this.#process.signalCode === 'SIGKILL'
  }

  async exited(): Promise<void> {
    await this.#exited
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#exited
  }
}
