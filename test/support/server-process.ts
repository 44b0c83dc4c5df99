import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const READY_MS_MAX = 30_000
const STOP_MS_MAX = 30_000
const GRPC_OFFSET = 10_000
/** Their usual ports are one process's only; a flag is stronger. */
const NO_DOORS = { HAYLOFT_REST_PORT: 'off', HAYLOFT_FILES_PORT: 'off' }

export interface ServerOptions {
  /** `master`, `volume` or `server`, and its flags. */
  readonly args: readonly string[]
  /** Answers 200 once the process is ready. */
  readonly readyUrl: string
  /** What it answers instead of 200. */
  readonly readyStatus?: number
  readonly env?: Readonly<Record<string, string>>
  /** What runs node, with its arguments: `ip netns exec NAME`. Undefined: nothing. */
  readonly wrapper?: readonly string[] | undefined
}

/** A daemon as its users run it. Disposing of it kills it. */
export class ServerProcess implements AsyncDisposable {
  readonly #options: ServerOptions
  #process: ChildProcess
  #exited: Promise<unknown>
  #said = ''

  private constructor(options: ServerOptions) {
    this.#options = options
    this.#process = this.#spawn()
    this.#exited = once(this.#process, 'exit')
  }

  /** When this returns, it answers requests. */
  static async start(options: ServerOptions): Promise<ServerProcess> {
    const server = new ServerProcess(options)
    await server.#waitReady()
    return server
  }

  get pid(): number {
    return this.#process.pid ?? -1
  }

  /** Standard output and error so far, of all its lives. */
  get said(): string {
    return this.#said
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  rssBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8')
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024
  }

  /** No chance to finish anything. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL')
    if (this.isRunning) await this.#exited
  }

  /** In order. Resolves to the exit code. */
  async stop(): Promise<number | null> {
    this.#process.kill('SIGTERM')
    if (this.isRunning) {
      const isLate = sleep(STOP_MS_MAX, 'late', { ref: false })
      if ((await Promise.race([this.#exited, isLate])) === 'late') {
        throw new Error(`it did not stop within ${STOP_MS_MAX} ms:\n${this.#said}`)
      }
    }
    return this.#process.exitCode
  }

  /** Starts it again after it was killed or stopped. */
  async restart(): Promise<void> {
    this.#process = this.#spawn()
    this.#exited = once(this.#process, 'exit')
    await this.#waitReady()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  #spawn(): ChildProcess {
    const [command = '', ...parameters] = [
      ...(this.#options.wrapper ?? []),
      process.execPath,
      MAIN,
      ...this.#options.args,
    ]
    const child = spawn(command, parameters, {
      env: { ...process.env, ...NO_DOORS, ...this.#options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const hear = (text: Buffer): void => {
      this.#said += text.toString()
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    return child
  }

  async #waitReady(): Promise<void> {
    const { readyStatus = 200, readyUrl } = this.#options
    const deadlineMs = Date.now() + READY_MS_MAX
    while (Date.now() < deadlineMs && this.isRunning) {
      const answer = await fetch(readyUrl).catch(() => undefined)
      await answer?.arrayBuffer()
      if (answer?.status === readyStatus) return
      await sleep(50)
    }
    const { args } = this.#options
    await this.kill()
    throw new Error(`hayloft ${args.join(' ')} was not ready:\n${this.#said}`)
  }
}

/** Ports nobody uses now, with the gRPC port above each free too. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  for (let tried = 0; ports.length < count; tried++) {
    if (tried > 200) throw new Error('no free ports')
    // Below 32768 with the offset: above, the system gives ports to outgoing connections.
    const port = 10_500 + Math.floor(Math.random() * 11_000)
    if (ports.includes(port)) continue
    if ((await isFree(port)) && (await isFree(port + GRPC_OFFSET))) ports.push(port)
  }
  return ports
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

export interface ClusterOptions {
  readonly directory: string
  readonly volumeServers: number
  readonly masterFlags?: readonly string[]
  readonly volumeFlags?: readonly string[]
  /** Where the n-th volume server keeps its volumes; a directory below `directory` if undefined. */
  readonly volumeDirectory?: (index: number) => string | undefined
}

/** A master and volume servers, each a process of its own. */
export class ClusterProcesses implements AsyncDisposable {
  readonly masterPort: number
  readonly master: ServerProcess
  readonly volumes: ServerProcess[] = []
  readonly volumePorts: number[] = []
  readonly #options: ClusterOptions
  readonly #owned: DisposeStack

  private constructor(options: ClusterOptions, port: number, master: ServerProcess) {
    this.#options = options
    this.masterPort = port
    this.master = master
    this.#owned = new DisposeStack()
    this.#owned.use(master)
  }

  static async start(options: ClusterOptions): Promise<ClusterProcesses> {
    const [port = 0] = await freePorts(1)
    const dir = join(options.directory, 'master')
    const flags = options.masterFlags ?? []
    const master = await ServerProcess.start({
      args: ['master', '--dir', dir, '--port', String(port), ...flags],
      readyUrl: `http://127.0.0.1:${port}/healthz`,
    })
    const cluster = new ClusterProcesses(options, port, master)
    try {
      for (let index = 0; index < options.volumeServers; index++) await cluster.addVolumeServer()
    } catch (error) {
      await cluster[Symbol.asyncDispose]()
      throw error
    }
    return cluster
  }

  get masterUrl(): string {
    return `http://127.0.0.1:${this.masterPort}`
  }

  /** What `--master` takes. */
  get masterAddress(): string {
    return `127.0.0.1:${this.masterPort}`
  }

  get secretFile(): string {
    return join(this.#options.directory, 'master', 'cluster.secret')
  }

  async addVolumeServer(flags: readonly string[] = []): Promise<ServerProcess> {
    const index = this.volumes.length
    const [port = 0] = await freePorts(1)
    const { directory, volumeDirectory, volumeFlags = [] } = this.#options
    const dir = volumeDirectory?.(index) ?? join(directory, `volume-${index + 1}`)
    const place = ['--dir', dir, '--port', String(port)]
    const master = ['--master', this.masterAddress, '--secret-file', this.secretFile]
    const server = await ServerProcess.start({
      args: ['volume', ...place, ...master, ...volumeFlags, ...flags],
      readyUrl: `http://127.0.0.1:${port}/readyz`,
    })
    this.#owned.use(server)
    this.volumes.push(server)
    this.volumePorts.push(port)
    return server
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}
