import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const OUTPUT_BYTES_MAX = 64 * 2 ** 20

export interface FilesRun {
  readonly exitCode: number
  readonly out: Buffer
  readonly err: string
}

export interface AccessKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** `hayloft files` as a user with this key runs it, in a process of its own. */
export class FilesCli {
  readonly #env: NodeJS.ProcessEnv

  constructor(gateway: string, { accessKeyId, secretAccessKey }: AccessKey) {
    this.#env = {
      ...process.env,
      HAYLOFT_GATEWAY: gateway,
      HAYLOFT_ACCESS_KEY: accessKeyId,
      HAYLOFT_SECRET_KEY: secretAccessKey,
    }
  }

  async run(args: readonly string[], input: Buffer | string = ''): Promise<FilesRun> {
    return await runHayloft(['files', ...args], { env: this.#env, input })
  }

  /** What it printed. @throws when the exit code is not 0. */
  async done(args: readonly string[], input?: Buffer | string): Promise<Buffer> {
    const { err, exitCode, out } = await this.run(args, input)
    if (exitCode !== 0) throw new Error(`hayloft files ${args.join(' ')}: ${exitCode}: ${err}`)
    return out
  }
}

/** Resolves whatever the exit code is. */
export function runHayloft(
  args: readonly string[],
  { env = process.env, input = '' }: { env?: NodeJS.ProcessEnv; input?: Buffer | string } = {},
): Promise<FilesRun> {
  return new Promise((resolve) => {
    const options = { encoding: 'buffer', env, maxBuffer: OUTPUT_BYTES_MAX } as const
    const child = execFile(process.execPath, [MAIN, ...args], options, (_error, out, err) => {
      resolve({ exitCode: child.exitCode ?? -1, out, err: err.toString() })
    })
    // It may end before it has read everything.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}
