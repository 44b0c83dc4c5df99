// The program whose life the crash tests take: `node driver.mjs COMMAND DIRECTORY LEDGER OPTIONS`,
// with the options as JSON. Says on standard output what happens, one line each; the last line of
// a command that ends is its result as JSON. It ends when its standard input does, too: when the
// tests die, nothing of theirs stays behind.

import { Ledger } from './ledger.mjs'
import {
  createVolume,
  deleteNeedle,
  openStore,
  putNeedle,
  removeVolume,
  SIGNAL,
  sealVolume,
  volumeOf,
  withStore,
} from './parts.mjs'
import { fillDisk, fillUntilSyncFails, fillVolumes, putInOneTurn, putOnTwo } from './scripts.mjs'
import { verify } from './verify.mjs'
import { WatchedDisk } from './watched-disk.mjs'
import {
  MAIN_VOLUME,
  openMainVolume,
  pause,
  reportUnlessDiskIsGone,
  runWorkload,
} from './workload.mjs'

const PHASE_VOLUME = 2
const PHASE_NEEDLES = 40

const OPERATIONS = {
  vacuum: (store) => volumeOf(store, PHASE_VOLUME).vacuum({}, SIGNAL),
  seal: (store, ledger) => sealVolume(store, ledger, PHASE_VOLUME),
  create: (store, ledger) => createVolume(store, ledger, PHASE_VOLUME),
  remove: async (store, ledger) => {
    await sealVolume(store, ledger, PHASE_VOLUME)
    await removeVolume(store, ledger, PHASE_VOLUME)
  },
  checkpoint: (store) => volumeOf(store, PHASE_VOLUME).checkpoint(),
  put: (store, ledger) => putNeedle(store, ledger, PHASE_VOLUME, PHASE_NEEDLES + 1),
}

const COMMANDS = {
  write,
  stop,
  verify: (directory, ledger, options) => verify(directory, ledger, options),
  heal: withLedger(heal),
  'fill-volumes': withLedger(fillVolumes),
  open: timeOpening,
  'sync-failure': withLedger(fillUntilSyncFails),
  'full-disk': withLedger(fillDisk),
  'one-turn': withLedger(putInOneTurn),
  'two-volumes': withLedger(putOnTwo),
}

const [command, directory, ledgerPath, optionsText] = process.argv.slice(2)
const options = JSON.parse(optionsText ?? '{}')
process.stdin.on('end', () => process.exit(3)).resume()
const result = await COMMANDS[command](directory, ledgerPath, options)
say(JSON.stringify(result ?? {}))
process.exit(0)

function say(line) {
  process.stdout.write(`${line}\n`)
}

function withLedger(run) {
  return async (directory, ledgerPath, options) => {
    const ledger = new Ledger(ledgerPath)
    const result = await run(directory, ledger, options)
    return { acked: ledger.ackedNow, ...result }
  }
}

/** Writes until it is killed, or the disk is gone. */
async function write(directory, ledgerPath, options) {
  const ledger = new Ledger(ledgerPath)
  const store = await openStore(directory, options)
  await openMainVolume(store, ledger)
  say('writing')
  await runWorkload(store, ledger, options)
  say('disk gone')
  await pause(60_000)
}

/**
 * Stops the world at one call of one operation, while others write: `operation` on a volume made
 * for it, `stopAt` a call as `WatchedDisk` names it, or `end`.
 */
async function stop(directory, ledgerPath, { operation, stopAt, durability }) {
  const disk = new WatchedDisk()
  const ledger = new Ledger(ledgerPath)
  const store = await openStore(directory, { disk, durability })
  await openMainVolume(store, ledger)
  const load = { seed: ledger.volumes.size, writers: 2 }
  runWorkload(store, ledger, { ...load, withHousekeeping: false, withSideVolumes: false })
  if (operation !== 'create') await preparePhaseVolume(store, ledger)
  disk.arm(stopAt, () => say(`reached ${stopAt}`))
  await OPERATIONS[operation](store, ledger).catch(reportUnlessDiskIsGone)
  if (stopAt === 'end') say('reached end')
  else say(`missed ${stopAt} among ${[...new Set(disk.calls)].join(', ')}`)
  await pause(60_000)
}

/** Needles, and garbage among them. */
async function preparePhaseVolume(store, ledger) {
  await createVolume(store, ledger, PHASE_VOLUME)
  const ids = Array.from({ length: PHASE_NEEDLES }, (_, index) => index + 1)
  const putAll = () => Promise.all(ids.map((id) => putNeedle(store, ledger, PHASE_VOLUME, id)))
  await putAll()
  await putAll()
  const gone = ids.filter((id) => id % 3 === 0)
  await Promise.all(gone.map((id) => deleteNeedle(store, ledger, PHASE_VOLUME, id)))
}

/** A vacuum makes a volume whose sync failed writable again. */
function heal(directory, ledger) {
  return withStore(directory, {}, async (store) => {
    await volumeOf(store, MAIN_VOLUME).vacuum({}, SIGNAL)
    await putNeedle(store, ledger, MAIN_VOLUME, 1)
    return { state: volumeOf(store, MAIN_VOLUME).state }
  })
}

async function timeOpening(directory) {
  const startedAt = performance.now()
  const store = await openStore(directory)
  const ms = performance.now() - startedAt
  let needles = 0
  for (const { volume } of store.volumes()) needles += volume.stats.liveNeedles
  return { ms: Math.round(ms), volumes: store.locations[0].volumes.size, needles }
}
