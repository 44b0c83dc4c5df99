import { readdirSync } from 'node:fs'
import { isStoreError } from '../../dist/base/store-error.js'
import { NodeDisk } from '../../dist/runtime/node-disk.js'
import { checkVolume } from '../../dist/storage/check-volume.js'
import { ABSENT, Ledger } from './ledger.mjs'
import { contentOf, readNeedle, SIGNAL, withStore } from './parts.mjs'

/**
 * Opens a directory after whatever happened to it and compares it with what was promised. What
 * became of operations without an answer is noted in the ledger: it may not change any more.
 */
export async function verify(directory, ledgerPath, options) {
  const ledger = new Ledger(ledgerPath)
  const report = new VerifyReport()
  const paths = []
  await withStore(directory, {}, async (store) => {
    for (const { path, code, reason } of store.quarantine) {
      report.violate('damaged', `${path} was set aside: ${code} ${reason}`)
    }
    checkVolumes(store, ledger, report, options)
    for (const { volume } of store.volumes()) paths.push(volume.paths)
    for (const [key, entry] of ledger.needles) await checkNeedle(store, ledger, key, entry, report)
  })
  if (options.states === undefined) await checkFiles(directory, ledger, paths, report)
  ledger.close()
  return report
}

class VerifyReport {
  needles = 0
  volumes = 0
  tailNeedles = 0
  cutBytes = 0
  lost = 0
  wrong = 0
  resurrected = 0
  damaged = 0
  /** The first few. */
  violations = []

  violate(kind, what) {
    this[kind]++
    if (this.violations.length < 10) this.violations.push(`${kind}: ${what}`)
  }
}

function checkVolumes(store, ledger, report, options) {
  for (const [id, entry] of ledger.volumes) {
    const volume = store.find(id)?.volume
    if (volume !== undefined) {
      report.volumes++
      report.tailNeedles += volume.recovery.tailNeedles
      report.cutBytes += volume.recovery.cutBytes
      const { damage, corruptNeedles } = volume.recovery
      if (damage !== undefined) report.violate('damaged', `volume ${id}: ${damage}`)
      if (corruptNeedles > 0) report.violate('damaged', `volume ${id}: ${corruptNeedles} corrupt`)
    }
    const state = volume?.state ?? 'absent'
    const allowed = options.states?.[id] ?? [entry.known, ...entry.tries]
    if (!allowed.includes(state)) {
      const kind = state === 'absent' ? 'lost' : 'damaged'
      report.violate(kind, `volume ${id} is ${state}, expected ${allowed.join(' or ')}`)
    } else if (entry.tries.length > 0 && options.states === undefined) {
      ledger.found(`volume ${id} ${state}`)
    }
  }
  for (const { volumeId } of store.volumes()) {
    if (!ledger.volumes.has(volumeId)) report.violate('resurrected', `volume ${volumeId}`)
  }
}

async function checkNeedle(store, ledger, key, entry, report) {
  const [volume, id] = key.split(' ').map(Number)
  if (store.find(volume) === undefined) return // Reported, or rightly gone.
  report.needles++
  const allowed = [entry.known, ...entry.tries]
  let data
  try {
    data = await readNeedle(store, volume, id)
  } catch (error) {
    if (!isStoreError(error)) throw error
    report.violate('lost', `needle ${key}: ${error.message}`)
    return
  }
  const version = allowed.find((candidate) =>
    candidate === ABSENT || data === undefined
      ? candidate === ABSENT && data === undefined
      : contentOf(volume, id, candidate).equals(data),
  )
  if (version !== undefined) {
    if (entry.tries.length > 0) ledger.found(`needle ${volume} ${id} ${version}`)
    return
  }
  const expected = `expected version ${allowed.join(' or ')}`
  if (data === undefined) report.violate('lost', `needle ${key} is absent, ${expected}`)
  else if (!allowed.some((candidate) => candidate !== ABSENT)) {
    report.violate('resurrected', `needle ${key} is back, ${data.length} bytes`)
  } else report.violate('wrong', `needle ${key} has ${data.length} other bytes, ${expected}`)
}

/** Every byte of every file, and no file too many. */
async function checkFiles(directory, ledger, paths, report) {
  const disk = new NodeDisk()
  for (const each of paths) {
    const check = await checkVolume(disk, each, {}, SIGNAL)
    if (check.ok) continue
    const first = check.findings[0]
    report.violate('damaged', `${check.path}: ${first?.code} ${first?.message}`)
  }
  for (const name of readdirSync(directory)) {
    const id = Number(/^(\d+)\./.exec(name)?.[1])
    if (ledger.stateOf(id) === 'absent' && !Number.isNaN(id)) {
      report.violate('resurrected', `${name} of a removed volume`)
    }
    if (/\.(?:tmp|cpd|cpx|cps|cpc|removed|spool-\d+)$/.test(name)) {
      report.violate('damaged', `${name} was left behind`)
    }
  }
}
