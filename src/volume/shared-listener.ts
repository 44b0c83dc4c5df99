import { type ChildProcess, fork } from 'node:child_process'
import net, { isIPv6 } from 'node:net'
import { fileURLToPath } from 'node:url'
import { StoreError } from '../base/store-error.ts'
import type { HttpAddress } from '../net/http-server.ts'

interface ServerHandle {
  readonly fd: number
  getsockname(into: { port?: number }): number
  close(): void
  unref(): void
}

/** What the cluster module of Node itself uses to bind a port that its workers share. */
interface HandleMaker {
  _createServerHandle?(host: string, port: number, family: 4 | 6, fd: number): ServerHandle | number
}

/**
 * One port, and a descriptor of it for each thread to listen on. A thread that closes its own does
 * not touch the others; the port is free again when all are closed.
 */
export interface SharedListener {
  readonly address: HttpAddress
  readonly fds: readonly number[]
}

const MIRROR = fileURLToPath(new URL('./descriptor-mirror.js', import.meta.url))

/**
 * Handles whose descriptor another thread has taken over, and closes: this thread never may, since
 * by then the number can mean another file. They are not listened on here and cost nothing.
 */
const takenOver: ServerHandle[] = []

/**
 * Threads of a process share its descriptors, and each closes the one it listened on: with one
 * number for all, the second to close it might close a file that has got the number meanwhile. Node
 * cannot duplicate a descriptor, but the system does so whenever one is sent to another process; so
 * they go to a short-lived one and come back.
 *
 * @throws {StoreError} LISTEN_FAILED.
 */
export async function bindShared(
  host: string,
  port: number,
  count: number,
): Promise<SharedListener> {
  const handle = bind(host, port)
  const name: { port?: number } = {}
  handle.getsockname(name)
  try {
    const copies = await duplicate(handle, count)
    for (const copy of copies) copy.unref()
    takenOver.push(...copies)
    return { address: { host, port: name.port ?? port }, fds: copies.map(({ fd }) => fd) }
  } finally {
    handle.close()
  }
}

function bind(host: string, port: number): ServerHandle {
  const maker = net as HandleMaker
  const handle = maker._createServerHandle?.(host, port, isIPv6(host) ? 6 : 4, -1)
  if (handle !== undefined && typeof handle !== 'number') return handle
  const why = handle === undefined ? 'this Node cannot share a port' : `error ${handle}`
  throw new StoreError('LISTEN_FAILED', `cannot listen on ${host}:${port}: ${why}`)
}

async function duplicate(handle: ServerHandle, count: number): Promise<ServerHandle[]> {
  const mirror = fork(MIRROR, { stdio: 'ignore' })
  try {
    const copies: ServerHandle[] = []
    while (copies.length < count) copies.push(await reflect(mirror, handle))
    return copies
  } finally {
    mirror.disconnect()
  }
}

function reflect(mirror: ChildProcess, handle: ServerHandle): Promise<ServerHandle> {
  return new Promise((resolve, reject) => {
    const fail = (cause?: unknown): void => {
      reject(new StoreError('LISTEN_FAILED', 'a port cannot be shared by threads', { cause }))
    }
    mirror.once('error', fail).once('exit', fail)
    mirror.once('message', (_, copy) => {
      mirror.off('error', fail).off('exit', fail)
      resolve(copy as unknown as ServerHandle)
    })
    // Node sends bare handles too; its types know only of sockets and servers.
    mirror.send('copy', handle as unknown as net.Server, (error) => {
      if (error !== null) fail(error)
    })
  })
}
