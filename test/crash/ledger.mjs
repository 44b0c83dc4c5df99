import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs'

/** A needle that is not there: never put, or deleted. */
export const ABSENT = 0

/**
 * What a volume server promised, kept outside the file system under test. A line `try` is written
 * before an operation begins, `ack` once it has been answered, `found` when a check after a crash
 * has seen what became of one that was not.
 *
 *     try|ack|found needle VOLUME ID VERSION      version 0: deleted
 *     try|ack|found volume VOLUME STATE           absent, writable or sealed
 */
export class Ledger {
  /** By "volume id": the last known version, and those that tries may have left. */
  needles = new Map()
  /** By volume id: the last known state, and those that tries may have left. */
  volumes = new Map()
  ackedNow = 0
  #fd

  constructor(path) {
    if (existsSync(path)) {
      for (const line of readFileSync(path, 'utf8').split('\n')) {
        if (line !== '') this.#apply(line)
      }
    }
    this.ackedNow = 0
    this.#fd = openSync(path, 'a')
  }

  close() {
    closeSync(this.#fd)
  }

  /** Notes the operation, runs it, notes its answer. Throws what it throws. */
  async promise(what, run) {
    this.#write(`try ${what}`)
    const result = await run()
    this.#write(`ack ${what}`)
    return result
  }

  found(what) {
    this.#write(`found ${what}`)
  }

  /** The next version for a needle: no version is ever used twice. */
  nextVersion(volume, id) {
    const entry = this.needles.get(`${volume} ${id}`)
    return (entry?.lastVersion ?? 0) + 1
  }

  stateOf(volume) {
    return this.volumes.get(volume)?.known ?? 'absent'
  }

  #write(line) {
    writeSync(this.#fd, `${line}\n`)
    this.#apply(line)
  }

  #apply(line) {
    const [kind, what, volume, ...rest] = line.split(' ')
    if (kind === 'ack') this.ackedNow++
    if (what === 'volume') {
      this.#settle(this.volumes, Number(volume), kind, rest[0], 'absent')
      if (kind !== 'try' && rest[0] === 'absent') this.#forgetNeedles(volume)
      return
    }
    const [id, version] = rest
    const entry = this.#settle(this.needles, `${volume} ${id}`, kind, Number(version), ABSENT)
    entry.lastVersion = Math.max(entry.lastVersion ?? 0, Number(version))
  }

  #settle(map, key, kind, value, initial) {
    const entry = map.get(key) ?? { known: initial, tries: [] }
    map.set(key, entry)
    if (kind === 'try') entry.tries.push(value)
    else {
      entry.known = value
      entry.tries = []
    }
    return entry
  }

  #forgetNeedles(volume) {
    for (const key of this.needles.keys()) {
      if (key.startsWith(`${volume} `)) this.needles.delete(key)
    }
  }
}
