import { join } from 'node:path'
import type { S3Client } from '@aws-sdk/client-s3'
import { S3_KEY_ENV, sdkOf } from './s3-endpoint.ts'
import { type ClusterProcesses, freePorts, ServerProcess } from './server-process.ts'

interface DoorPorts {
  /** Of the HTTP of its master. */
  readonly master: number
  readonly s3: number
  readonly rest: number
  readonly files: number
}

/** A process that answers S3, objects, documents and users' files. Disposing of it kills it. */
export class DoorProcess implements AsyncDisposable {
  readonly process: ServerProcess
  readonly ports: DoorPorts

  private constructor(process: ServerProcess, ports: DoorPorts) {
    this.process = process
    this.ports = ports
  }

  /** `hayloft server`, all in one process. */
  static async ofServer(
    directory: string,
    { flags = [], volumeServers }: { readonly flags?: readonly string[]; volumeServers: number },
  ): Promise<DoorProcess> {
    const ports = await freePorts(4)
    const [master = 0] = ports
    const volumes = ['--volume-port', '0', '--volume-servers', `${volumeServers}`]
    const place = ['--dir', join(directory, 'data'), '--port', `${master}`, ...volumes]
    return await DoorProcess.#start(['server', ...place, ...flags], ports, S3_KEY_ENV)
  }

  /** `hayloft gateway`. */
  static async ofGateway(
    cluster: Pick<ClusterProcesses, 'masterAddress' | 'masterPort' | 'secretFile'>,
    flags: readonly string[] = [],
  ): Promise<DoorProcess> {
    const masters = ['--master', cluster.masterAddress, '--secret-file', cluster.secretFile]
    const ports = [cluster.masterPort, ...(await freePorts(3))]
    return await DoorProcess.#start(['gateway', ...masters, ...flags], ports, {})
  }

  static async #start(
    args: readonly string[],
    [master = 0, s3 = 0, rest = 0, files = 0]: readonly number[],
    env: Readonly<Record<string, string>>,
  ): Promise<DoorProcess> {
    const doors = ['--s3-port', `${s3}`, '--rest-port', `${rest}`, '--files-port', `${files}`]
    const readyUrl = `http://127.0.0.1:${rest}/health`
    const process = await ServerProcess.start({ args: [...args, ...doors], env, readyUrl })
    return new DoorProcess(process, { master, s3, rest, files })
  }

  /** What `--master` takes. */
  get masterAddress(): string {
    return `127.0.0.1:${this.ports.master}`
  }

  get restUrl(): string {
    return `http://127.0.0.1:${this.ports.rest}`
  }

  get s3Url(): string {
    return `http://127.0.0.1:${this.ports.s3}`
  }

  /** What `hayloft files --gateway` takes. */
  get filesAddress(): string {
    return `127.0.0.1:${this.ports.files}`
  }

  sdk(): S3Client {
    return sdkOf(this.s3Url)
  }

  async kill(): Promise<void> {
    await this.process.kill()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]()
  }
}
