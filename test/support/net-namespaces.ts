import { execFileSync } from 'node:child_process'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { mountingUnsupported } from './mounts.ts'

/** The system looks for `ip` and `nft` in these too, which the PATH of a user may lack. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`

/**
 * Hosts of their own on this machine: a network namespace each, joined by a bridge in one more.
 * This process reaches them through a pair of interfaces made for it, and they it. All of it goes
 * with `dispose`, and what a killed run left goes with the next one.
 */
export class NetNamespaces implements AsyncDisposable {
  readonly #prefix: string
  readonly #subnet: string
  readonly #owned = new DisposeStack()

  private constructor(prefix: string, subnet: string) {
    this.#prefix = prefix
    this.#subnet = subnet
  }

  /** Why it cannot be used here, or undefined when it can. */
  static supported(): string | undefined {
    const reason = mountingUnsupported(['ip', 'nft'])
    if (reason !== undefined) return reason
    const probe = `hlp${process.pid}`
    try {
      run('ip', 'netns', 'add', probe)
      run('ip', 'netns', 'exec', probe, 'nft', 'add', 'table', 'inet', 'probe')
      run('ip', 'netns', 'del', probe)
      return undefined
    } catch (error) {
      return `network namespaces do not work here: ${String(error).split('\n')[0]}`
    }
  }

  /** `hostCount` hosts with the addresses `address(0)` and on. */
  static create(hostCount: number): NetNamespaces {
    const number = process.pid % 200
    const made = new NetNamespaces(`hl${process.pid}`, `10.213.${number + 1}`)
    try {
      made.#build(hostCount)
      return made
    } catch (error) {
      made.#owned[Symbol.asyncDispose]().catch(() => undefined)
      throw error
    }
  }

  /** Of this process, as the hosts reach it. */
  get ownAddress(): string {
    return `${this.#subnet}.254`
  }

  address(host: number): string {
    return `${this.#subnet}.${host + 1}`
  }

  /** What runs a program on a host. */
  wrapper(host: number): readonly string[] {
    return ['ip', 'netns', 'exec', this.#name(host)]
  }

  /** What `from` sends to `to` is lost from now on; the other way nothing changes. */
  cut(from: number, to: number): void {
    const nft = (...rule: string[]): void =>
      run('ip', 'netns', 'exec', this.#name(from), 'nft', ...rule)
    nft('add', 'table', 'inet', 'cut')
    nft('add', 'chain', 'inet', 'cut', 'out', '{ type filter hook output priority 0; }')
    nft('add', 'rule', 'inet', 'cut', 'out', 'ip', 'daddr', this.address(to), 'drop')
  }

  mend(from: number): void {
    run('ip', 'netns', 'exec', this.#name(from), 'nft', 'delete', 'table', 'inet', 'cut')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned[Symbol.asyncDispose]()
  }

  #build(hostCount: number): void {
    const bridge = this.#namespace('sw')
    inside(bridge, 'ip', 'link', 'add', 'br0', 'type', 'bridge')
    inside(bridge, 'ip', 'link', 'set', 'br0', 'up')
    const own = `${this.#prefix}o`
    run('ip', 'link', 'add', own, 'type', 'veth', 'peer', 'name', 'own', 'netns', bridge)
    this.#owned.defer(() => {
      run('ip', 'link', 'del', own)
    })
    this.#plugIn(bridge, 'own')
    run('ip', 'addr', 'add', `${this.ownAddress}/24`, 'dev', own)
    run('ip', 'link', 'set', own, 'up')
    for (let host = 0; host < hostCount; host++) {
      const name = this.#namespace(String(host))
      const port = `p${host}`
      inside(
        name,
        'ip',
        'link',
        'add',
        'eth0',
        'type',
        'veth',
        'peer',
        'name',
        port,
        'netns',
        bridge,
      )
      this.#plugIn(bridge, port)
      inside(name, 'ip', 'addr', 'add', `${this.address(host)}/24`, 'dev', 'eth0')
      inside(name, 'ip', 'link', 'set', 'eth0', 'up')
      inside(name, 'ip', 'link', 'set', 'lo', 'up')
    }
  }

  #plugIn(bridge: string, port: string): void {
    inside(bridge, 'ip', 'link', 'set', port, 'master', 'br0')
    inside(bridge, 'ip', 'link', 'set', port, 'up')
  }

  #namespace(what: string): string {
    const name = `${this.#prefix}-${what}`
    run('ip', 'netns', 'add', name)
    this.#owned.defer(() => {
      run('ip', 'netns', 'del', name)
    })
    return name
  }

  #name(host: number): string {
    return `${this.#prefix}-${host}`
  }
}

function inside(namespace: string, ...command: string[]): void {
  run('ip', 'netns', 'exec', namespace, ...command)
}

function run(command: string, ...parameters: string[]): void {
  execFileSync(command, parameters, { env: { ...process.env, PATH }, stdio: 'pipe' })
}
