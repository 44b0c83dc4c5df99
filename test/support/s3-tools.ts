import { execFile } from 'node:child_process'
import { accessSync, constants, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { S3_KEY, S3_REGION } from './s3-endpoint.ts'

const runFile = promisify(execFile)

const OUTPUT_BYTES_MAX = 64 * 2 ** 20
const TOOL_MS_MAX = 120_000

/** Where a tool is; each path once, whatever links lead to it. */
export function findTools(name: string): string[] {
  const { PATH = '' } = process.env
  const found = new Map<string, string>()
  for (const directory of PATH.split(delimiter)) {
    const path = join(directory, name)
    try {
      accessSync(path, constants.X_OK)
      const real = realpathSync(path)
      if (!found.has(real)) found.set(real, path)
    } catch {
      // Not here.
    }
  }
  return [...found.values()]
}

/** Why a tool cannot be used; undefined: it can. */
export function toolMissing(name: string): string | undefined {
  return findTools(name).length === 0 ? `needs ${name}` : undefined
}

/**
 * Client programs with what they need to know of one endpoint, and nothing else: no settings of
 * this machine reach them, neither files nor variables.
 */
export class S3Tools {
  readonly #url: string
  readonly #env: Readonly<Record<string, string>>

  constructor(url: string, home: string, more: Readonly<Record<string, string>> = {}) {
    this.#url = url
    this.#env = {
      ...foreignEnvironment(),
      HOME: home,
      LC_ALL: 'C.UTF-8',
      AWS_ACCESS_KEY_ID: S3_KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: S3_KEY.secretAccessKey,
      AWS_DEFAULT_REGION: S3_REGION,
      RCLONE_CONFIG: join(home, 'no-such-file.conf'),
      RCLONE_CONFIG_HAYLOFT_TYPE: 's3',
      RCLONE_CONFIG_HAYLOFT_PROVIDER: 'Other',
      RCLONE_CONFIG_HAYLOFT_ENDPOINT: url,
      RCLONE_CONFIG_HAYLOFT_ACCESS_KEY_ID: S3_KEY.accessKeyId,
      RCLONE_CONFIG_HAYLOFT_SECRET_ACCESS_KEY: S3_KEY.secretAccessKey,
      RESTIC_PASSWORD: 'of the tests',
      RESTIC_CACHE_DIR: join(home, 'restic-cache'),
      ...more,
    }
  }

  async aws(path: string, ...args: string[]): Promise<string> {
    return await this.run(path, ['--endpoint-url', this.#url, ...args])
  }

  async s3cmd(...args: string[]): Promise<string> {
    const { host } = new URL(this.#url)
    const { accessKeyId, secretAccessKey } = S3_KEY
    const keys = [`--access_key=${accessKeyId}`, `--secret_key=${secretAccessKey}`]
    const where = [`--host=${host}`, `--host-bucket=${host}`, '--no-ssl', '--no-progress']
    return await this.run('s3cmd', ['--config=/dev/null', ...where, ...keys, ...args])
  }

  async rclone(...args: string[]): Promise<string> {
    return await this.run('rclone', args)
  }

  async restic(repository: string, args: readonly string[], cwd?: string): Promise<string> {
    return await this.run('restic', ['--repo', `s3:${this.#url}/${repository}`, ...args], cwd)
  }

  /** What it said, on both channels. It fails if the exit code is not 0. */
  async run(command: string, args: readonly string[], cwd?: string): Promise<string> {
    const options = { env: this.#env, maxBuffer: OUTPUT_BYTES_MAX, timeout: TOOL_MS_MAX }
    const { stderr, stdout } = await runFile(command, args, { ...options, ...(cwd && { cwd }) })
    return stdout + stderr
  }
}

/** What the machine needs to run programs, without what tells these programs how to run. */
function foreignEnvironment(): Record<string, string> {
  const known = /^(?:AWS|BOTO|HAYLOFT|RCLONE|RESTIC|S3|.*_PROXY$)/i
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined || known.test(name) ? [] : [[name, value]],
    ),
  )
}
