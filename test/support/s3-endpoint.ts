import { join } from 'node:path'
import { S3Client } from '@aws-sdk/client-s3'
import { Client as MinioClient } from 'minio'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { ClusterProcesses, freePorts, ServerProcess } from './server-process.ts'
import { openTempDirectory } from './temp-directory.ts'

export const S3_REGION = 'us-east-1'
export const S3_KEY = {
  accessKeyId: 'ROOTKEYOFTESTS',
  secretAccessKey: 'a-secret-of-tests-only',
} as const
/** By the environment, where no list of processes shows the secret: as the documents advise. */
export const S3_KEY_ENV = {
  HAYLOFT_S3_ROOT_ACCESS_KEY: S3_KEY.accessKeyId,
  HAYLOFT_S3_ROOT_SECRET_KEY: S3_KEY.secretAccessKey,
} as const

/** S3 of real processes, and where tests may write. Disposing of it kills them. */
export class S3Endpoint implements AsyncDisposable {
  /** Like `http://127.0.0.1:8333`. */
  readonly url: string
  readonly directory: string
  /** What `--master` takes. */
  readonly masterAddress: string
  readonly #owned: DisposeStack

  private constructor(
    at: { readonly url: string; readonly directory: string; readonly masterAddress: string },
    owned: DisposeStack,
  ) {
    this.url = at.url
    this.directory = at.directory
    this.masterAddress = at.masterAddress
    this.#owned = owned
  }

  /** `hayloft server`, all in one process, in `data/` of the directory. */
  static async ofServer(): Promise<S3Endpoint> {
    await using opening = new DisposeStack()
    const { path } = opening.use(await openTempDirectory())
    const [master = 0, volume = 0, s3 = 0] = await freePorts(3)
    const ports = ['--port', `${master}`, '--volume-port', `${volume}`, '--s3-port', `${s3}`]
    const server = await ServerProcess.start({
      args: ['server', '--dir', join(path, 'data'), ...ports],
      env: S3_KEY_ENV,
      readyUrl: `http://127.0.0.1:${volume}/readyz`,
    })
    opening.use(server)
    const at = { url: `http://127.0.0.1:${s3}`, directory: path }
    return new S3Endpoint({ ...at, masterAddress: `127.0.0.1:${master}` }, opening.move())
  }

  /** `hayloft gateway` before a `hayloft master` and three `hayloft volume`. */
  static async ofGateway(): Promise<S3Endpoint> {
    await using opening = new DisposeStack()
    const { path } = opening.use(await openTempDirectory())
    const cluster = opening.use(await startS3Cluster(join(path, 'cluster')))
    const { url } = opening.use(await GatewayProcess.start(cluster))
    const { masterAddress } = cluster
    return new S3Endpoint({ url, directory: path, masterAddress }, opening.move())
  }

  /** The SDK with default settings but endpoint, keys and path style. */
  sdk(): S3Client {
    return sdkOf(this.url)
  }

  minio(): MinioClient {
    const { hostname, port } = new URL(this.url)
    const { accessKeyId: accessKey, secretAccessKey: secretKey } = S3_KEY
    const where = { endPoint: hostname, port: Number(port), useSSL: false }
    return new MinioClient({ ...where, accessKey, secretKey })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

export function sdkOf(endpoint: string): S3Client {
  return new S3Client({
    endpoint,
    region: S3_REGION,
    forcePathStyle: true,
    credentials: S3_KEY,
  })
}

/** A master that knows the key of the tests, and three volume servers; nothing before them yet. */
export function startS3Cluster(directory: string): Promise<ClusterProcesses> {
  const { accessKeyId, secretAccessKey } = S3_KEY
  const key = ['--s3-root-access-key', accessKeyId, '--s3-root-secret-key', secretAccessKey]
  return ClusterProcesses.start({ directory, volumeServers: 3, masterFlags: key })
}

/** A gateway with no state of its own. */
export class GatewayProcess implements AsyncDisposable {
  readonly url: string
  readonly #process: ServerProcess

  private constructor(url: string, server: ServerProcess) {
    this.url = url
    this.#process = server
  }

  static async start(cluster: ClusterProcesses): Promise<GatewayProcess> {
    const [port = 0] = await freePorts(1)
    const url = `http://127.0.0.1:${port}`
    const master = ['--master', cluster.masterAddress, '--secret-file', cluster.secretFile]
    const server = await ServerProcess.start({
      args: ['gateway', '--s3-port', String(port), ...master],
      readyUrl: url,
      // Nobody may list buckets without a signature; that this is said shows that it answers.
      readyStatus: 403,
    })
    return new GatewayProcess(url, server)
  }

  /** As a power cut does. */
  async kill(): Promise<void> {
    await this.#process.kill()
  }

  /** In order. Resolves to the exit code. */
  async stop(): Promise<number | null> {
    return await this.#process.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]()
  }
}
