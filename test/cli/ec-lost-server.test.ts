import { join } from 'node:path'
import { expect, test } from 'vitest'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { type CliRun, type CliRunOptions, runCli } from '../support/cli-run.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { settle } from '../support/test-volume.ts'

const SERVERS = 4
const FILES = 10

/** A server of the command line, in this process; ended in order. */
interface Daemon extends AsyncDisposable {
  /** What it prints when it is ready. */
  readonly banner: string
}

async function start(
  args: readonly string[],
  { lastLine, seed }: { readonly lastLine: string; readonly seed: number },
): Promise<Daemon> {
  const stop = new AbortController()
  let running: Promise<CliRun> | undefined
  const ready = new Promise<string>((resolve, reject) => {
    const onOutput = (out: Buffer): void => {
      if (out.includes(lastLine)) resolve(out.toString())
    }
    const options = { isRealTime: true, signal: stop.signal, seed, onOutput }
    running = runCli(args, new NodeDisk(), options)
    void running.then(({ err }) => reject(new Error(err)))
  })
  return {
    banner: await ready,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}

function found(pattern: RegExp, text: string): string {
  return pattern.exec(text)?.[1] ?? expect.fail(`no ${pattern} in ${text}`)
}

class Cluster implements AsyncDisposable {
  readonly #master: Daemon
  readonly #volumes: readonly Daemon[]
  readonly #env: Readonly<Record<string, string>>

  private constructor(master: Daemon, volumes: readonly Daemon[], env: Record<string, string>) {
    this.#master = master
    this.#volumes = volumes
    this.#env = env
  }

  static async open(dir: string): Promise<Cluster> {
    const [masterDir, hurry] = [join(dir, 'master'), ['--heartbeat', '1s', '--check', '200ms']]
    const master = await start(
      ['master', '--dir', masterDir, '--port', '0', '--volume-size', '64MiB', ...hurry],
      { lastLine: 'hayloft volume --dir', seed: 1 },
    )
    const url = found(/master +http:\/\/(\S+)/, master.banner)
    const address = `${url}.${found(/grpc +\S+:(\d+)/, master.banner)}`
    const secretFile = join(masterDir, 'cluster.secret')
    const shared = ['--port', '0', '--master', address, '--secret-file', secretFile]
    const volumes = await Promise.all(
      Array.from({ length: SERVERS }, (_, index) => {
        const own = ['--dir', join(dir, `v${index}`), '--rack', `r${index}`]
        return start(['volume', ...own, ...shared], { lastLine: 'curl', seed: index + 2 })
      }),
    )
    return new Cluster(master, volumes, {
      HAYLOFT_MASTER: address,
      HAYLOFT_SECRET_FILE: secretFile,
    })
  }

  hayloft(args: readonly string[], options: CliRunOptions = {}): Promise<CliRun> {
    return runCli(args, new NodeDisk(), { isRealTime: true, ...options, env: this.#env })
  }

  /** Ends the server in that rack; its address. */
  async stop(rack: string): Promise<string> {
    const daemon = this.#volumes.find(({ banner }) => banner.includes(`place    dc1/${rack}\n`))
    if (daemon === undefined) expect.fail(`no server in ${rack}`)
    await daemon[Symbol.asyncDispose]()
    return found(/volume +http:\/\/(\S+)/, daemon.banner)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#volumes) await daemon[Symbol.asyncDispose]()
    await this.#master[Symbol.asyncDispose]()
  }
}

/** Runs a command until it prints this: what servers tell each other takes a moment. */
async function until(
  cluster: Cluster,
  args: readonly string[],
  wanted: RegExp,
): Promise<{ readonly exitCode: number; readonly out: string }> {
  for (let left = 200; ; left--) {
    const { exitCode, out, err } = await cluster.hayloft(args)
    if (wanted.test(out)) return { exitCode, out }
    if (left === 0) expect.fail(`${args.join(' ')} printed ${out}${err}, not ${wanted}`)
    await settle(100)
  }
}

// As docs/OPERATIONS.md has it: a server with shards dies.
test('files of a coded volume outlive a server, and its shard is made anew elsewhere', async () => {
  await using temp = await openTempDirectory()
  await using cluster = await Cluster.open(temp.path)
  await until(cluster, ['node', 'ls'], new RegExp(`(?:.* up .*\n){${SERVERS}}`))
  const ids: string[] = []
  for (let index = 0; index < FILES; index++) {
    const input = Buffer.alloc(300_000, index)
    ids.push((await cluster.hayloft(['put', '-'], { input })).out.trim())
  }
  const volumeId = ids[0]?.split(',')[0] ?? ''
  const files = ids.flatMap((id, index) => (id.startsWith(`${volumeId},`) ? [{ id, index }] : []))
  const expectAllThere = async (): Promise<void> => {
    for (const { id, index } of files) {
      const { exitCode, out } = await cluster.hayloft(['get', id])
      const isSame = Buffer.from(out).equals(Buffer.alloc(300_000, index))
      expect([id, exitCode, isSame]).toEqual([id, 0, true])
    }
  }
  const job = (kind: string) => ['job', 'run', kind, '--volume', volumeId]

  const encoded = await cluster.hayloft([...job('ec-encode'), '--erasure', '2+1', '--watch'])
  expect(encoded).toMatchObject({ exitCode: 0, err: '' })
  const status = ['ec', 'status', '--volume', volumeId]
  const whole = await until(cluster, status, /may still fail: 1 of 3 servers, 1 of 3 racks/)
  expect(whole.exitCode).toBe(0)

  const rack = found(/dc1\/(r\d) .* 0$/m, whole.out)
  const url = await cluster.stop(rack)
  const damaged = await until(cluster, status, /lacks: shard 0 is on a server that is down/)
  expect(damaged.out).toContain('may still fail: 0 of 2 servers')
  expect(damaged.exitCode).toBe(1)
  await expectAllThere()

  await cluster.hayloft(['node', 'forget', url])
  await cluster.hayloft([...job('ec-repair'), '--watch'])
  const repaired = await until(cluster, status, /may still fail: 1 of 3 servers, 1 of 3 racks/)
  expect(repaired.exitCode).toBe(0)
  expect(repaired.out).not.toContain(`dc1/${rack} `)
  await expectAllThere()
}, 180_000)
