import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const DRIVER = fileURLToPath(new URL('../crash/driver.mjs', import.meta.url))
const LINE_MS_MAX = 60_000

export interface DriverCall {
  readonly command: string
  readonly directory: string
  /** Outside the file system under test. */
  readonly ledger: string
  readonly options?: Readonly<Record<string, unknown>>
  /** A program that runs it, such as strace with its options. */
  readonly under?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** A process under test. Disposing of it kills it; it dies too when the tests do. */
export class CrashDriver implements AsyncDisposable {
  readonly #process: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #name: string
  readonly #lines: string[] = []
  #errors = ''
  #onLine: () => void = () => undefined

  private constructor(call: DriverCall) {
    const { command, directory, ledger, options = {}, under = [] } = call
    const node = [process.execPath, DRIVER, command, directory, ledger, JSON.stringify(options)]
    const [program = '', ...parameters] = [...under, ...node]
    this.#name = `${command} ${JSON.stringify(options)}`
    this.#process = spawn(program, parameters, { env: { ...process.env, ...call.env } })
    this.#exited = once(this.#process, 'close').then(() => this.#onLine())
    const { stdout, stderr } = this.#process
    if (stdout === null || stderr === null) throw new Error('a driver without pipes')
    createInterface({ input: stdout }).on('line', (line) => {
      this.#lines.push(line)
      this.#onLine()
    })
    stderr.on('data', (text) => {
      this.#errors += text
    })
  }

  static start(call: DriverCall): CrashDriver {
    return new CrashDriver(call)
  }

  /** Runs a command to its end and returns the result it printed. */
  static async run<Result = Record<string, unknown>>(call: DriverCall): Promise<Result> {
    await using driver = new CrashDriver(call)
    const line = await driver.line(/^\{/)
    await driver.#exited
    return JSON.parse(line) as Result
  }

  /** The first line so far that matches, or the next one to come. */
  async line(pattern: RegExp): Promise<string> {
    const deadline = AbortSignal.timeout(LINE_MS_MAX)
    for (;;) {
      const found = this.#lines.find((line) => pattern.test(line))
      if (found !== undefined) return found
      if (this.#hasExited || deadline.aborted) {
        const said = `${this.#lines.join('\n')}\n${this.#errors}`
        throw new Error(`${this.#name} never said ${pattern}; it said:\n${said}`)
      }
      await new Promise<void>((resolve) => {
        this.#onLine = resolve
        deadline.addEventListener('abort', () => resolve(), { once: true })
      })
    }
  }

  get pid(): number {
    const { pid } = this.#process
    if (pid === undefined) throw new Error(`${this.#name} did not start`)
    return pid
  }

  /** What went wrong in it that a crash does not explain. */
  get surprises(): string[] {
    const lines = this.#lines.filter((line) => line.startsWith('unexpected '))
    return this.#errors === '' ? lines : [...lines, this.#errors]
  }

  /** kill -9, and waits until it is gone. */
  async kill(): Promise<void> {
    if (!this.#hasExited) this.#process.kill('SIGKILL')
    await this.#exited
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill()
  }

  get #hasExited(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null
  }
}

export interface Verdict {
  readonly needles: number
  readonly volumes: number
  readonly tailNeedles: number
  readonly cutBytes: number
  readonly lost: number
  readonly wrong: number
  readonly resurrected: number
  readonly damaged: number
  readonly violations: readonly string[]
}

/** Every operation ever acknowledged. */
export async function countAcks(ledger: string): Promise<number> {
  return (await readFile(ledger, 'utf8')).match(/^ack /gm)?.length ?? 0
}

/** Opens the directory in a new process and compares it with the ledger. */
export function verifyPromises(
  directory: string,
  ledger: string,
  options: { readonly states?: Readonly<Record<number, readonly string[]>> } = {},
): Promise<Verdict> {
  return CrashDriver.run<Verdict>({ command: 'verify', directory, ledger, options })
}
