import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findTools } from './s3-tools.ts'
import { REPOSITORY } from './source-files.ts'

const CONFIG = `${REPOSITORY}examples/nginx/hayloft.conf`
const READY_MS_MAX = 20_000
/** It is not on the path of everybody. */
const SBIN = '/usr/sbin/nginx'

/** Why there is none; undefined: there is one. */
export function nginxMissing(): string | undefined {
  return findNginx() === undefined ? 'needs nginx' : undefined
}

function findNginx(): string | undefined {
  const [found] = findTools('nginx')
  if (found !== undefined) return found
  try {
    accessSync(SBIN, constants.X_OK)
    return SBIN
  } catch {
    return undefined
  }
}

/** The port of an example, by which it is found, and those that are used instead. */
export interface PortMap {
  readonly documented: number
  readonly listen: number
  readonly gateways: readonly number[]
}

/** nginx with the settings given as an example, on other ports. Disposing of it ends it. */
export class NginxProcess implements AsyncDisposable {
  readonly #process: ChildProcess
  readonly #exited: Promise<unknown>
  #said = ''

  private constructor(command: string, directory: string) {
    const args = ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr']
    this.#process = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#exited = once(this.#process, 'exit')
    this.#process.stderr?.on('data', (text: Buffer) => {
      this.#said += text.toString()
    })
  }

  /** Everything it writes is in `directory`. */
  static async start(directory: string, ports: readonly PortMap[]): Promise<NginxProcess> {
    await mkdir(directory, { recursive: true })
    const example = await readFile(CONFIG, 'utf8')
    await writeFile(join(directory, 'hayloft.conf'), withPorts(example, ports))
    await writeFile(join(directory, 'nginx.conf'), frameOf(directory))
    const nginx = new NginxProcess(findNginx() ?? 'nginx', directory)
    try {
      for (const { listen } of ports) await nginx.#waitReady(listen)
    } catch (error) {
      await nginx[Symbol.asyncDispose]()
      throw error
    }
    return nginx
  }

  get said(): string {
    return this.#said
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    this.#process.kill('SIGTERM')
    await this.#exited
  }

  async #waitReady(port: number): Promise<void> {
    const deadlineMs = Date.now() + READY_MS_MAX
    while (Date.now() < deadlineMs && this.#process.exitCode === null) {
      if (await isListening(port)) return
      await sleep(20)
    }
    throw new Error(`nginx does not listen on ${port}:\n${this.#said}`)
  }
}

/** Each line that is replaced has to be there, so that the example is what is tested. */
function withPorts(example: string, ports: readonly PortMap[]): string {
  let text = example
  for (const { documented, gateways, listen } of ports) {
    const servers = gateways
      .map((port) => `    server 127.0.0.1:${port} fail_timeout=2s;\n`)
      .join('')
    const documentedServers = new RegExp(
      `(?:    server [\\d.]+:${documented} fail_timeout=2s;\\n)+`,
    )
    text = replaced(text, documentedServers, servers)
    text = replaced(text, new RegExp(`listen ${documented}\\b`), `listen 127.0.0.1:${listen}`)
  }
  return text
}

function replaced(text: string, pattern: RegExp, by: string): string {
  if (!pattern.test(text)) throw new Error(`the example has nothing like ${pattern}`)
  return text.replace(pattern, by)
}

/** What a system's own configuration has around the files of conf.d. */
function frameOf(directory: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => {
    return `  ${kind}_temp_path ${join(directory, kind)};\n`
  })
  const isRoot = process.getuid?.() === 0
  return [
    ...(isRoot ? ['user root;\n'] : []),
    'daemon off;\nworker_processes 1;\nerror_log stderr;\n',
    `pid ${join(directory, 'nginx.pid')};\n`,
    'events { worker_connections 512; }\n',
    'http {\n  access_log off;\n',
    ...temporary,
    `  include ${join(directory, 'hayloft.conf')};\n}\n`,
  ].join('')
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
