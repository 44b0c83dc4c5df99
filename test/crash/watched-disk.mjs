import { basename } from 'node:path'
import { NodeDisk } from '../../dist/runtime/node-disk.js'

const FILE_CALLS = ['read', 'writev', 'datasync', 'truncate']

/**
 * A real disk that stops the world at a named call. A call is named after what it does and to which
 * file of a volume: `writev .cpd`, `rename .cpc.tmp`; a sync of the directory after the change of
 * name before it: `sync after rename .cpc.tmp`.
 */
export class WatchedDisk extends NodeDisk {
  #stopAt
  #lastChange = 'open'
  /** Every call since `arm`, in order. */
  calls = []
  #onReached = () => undefined

  /** The next call of this name is announced and never made. */
  arm(stopAt, onReached) {
    this.calls = []
    this.#stopAt = stopAt
    this.#onReached = onReached
  }

  async open(path, mode) {
    await this.#before('open', path)
    return this.#watch(await super.open(path, mode))
  }

  async rename(source, target) {
    await this.#before('rename', source)
    await super.rename(source, target)
    this.#lastChange = `rename ${extensionOf(source)}`
  }

  async unlink(path) {
    await this.#before('unlink', path)
    await super.unlink(path)
    this.#lastChange = `unlink ${extensionOf(path)}`
  }

  async removeDirectory(path) {
    await this.#before('removeDirectory', path)
    await super.removeDirectory(path)
    this.#lastChange = `removeDirectory ${extensionOf(path)}`
  }

  async syncDirectory(path) {
    await this.#stop(`sync after ${this.#lastChange}`)
    await super.syncDirectory(path)
  }

  #watch(file) {
    return new Proxy(file, {
      get: (target, name) => {
        const value = target[name]
        if (typeof value !== 'function') return value
        if (!FILE_CALLS.includes(name)) return value.bind(target)
        return async (...parameters) => {
          await this.#before(name, target.path)
          return value.apply(target, parameters)
        }
      },
    })
  }

  #before(call, path) {
    return this.#stop(`${call} ${extensionOf(path)}`)
  }

  async #stop(call) {
    this.calls.push(call)
    if (call !== this.#stopAt) return
    this.#onReached(call)
    await new Promise(() => undefined)
  }
}

/** `7.cpc.tmp` is `.cpc.tmp`. */
function extensionOf(path) {
  const name = basename(path)
  return name.slice(name.indexOf('.'))
}
