import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DOCUMENT_PHASES, type DocumentPhase } from '../../src/gateway/documents/document-files.ts'
import {
  DocumentCluster,
  type DocumentDoor,
  type DoomedGateway,
} from '../support/document-cluster.ts'
import {
  DocumentLedger,
  type DocumentWrite,
  textOf,
  type WriteKind,
} from '../support/document-ledger.ts'
import { Prng } from '../support/prng.ts'
import type { ServerProcess } from '../support/server-process.ts'

/** `npm run doors:all` takes more. */
const IS_ALL = process.env['HAYLOFT_DOORS_LANE'] === 'all'
const CYCLES = IS_ALL ? 200 : 20
const SET_KILLS = IS_ALL ? 50 : 5
/** Gateways that die in one batch, each at a phase: every phase twice. */
const BATCH = 2 * DOCUMENT_PHASES.length
const DOCUMENTS = 14
const CLIENTS = 4
const NEVER = new AbortController().signal
const MINUTES = 60_000
const TEST_MS_MAX = (IS_ALL ? 40 : 10) * MINUTES

/** Which writes come to a phase. */
const KINDS: Readonly<Record<DocumentPhase, readonly WriteKind[]>> = {
  planned: ['full', 'hot', 'hot-only', 'whole', 'coded'],
  'cold-stored': ['full', 'coded'],
  'hot-planned': ['full'],
  'hot-stored': ['full', 'hot', 'hot-only', 'whole'],
  named: ['full', 'hot', 'hot-only', 'whole', 'coded'],
}

/** It takes one needle and no intent: what nobody names is left to the collector of orphans. */
const ONE_NEEDLE: readonly WriteKind[] = ['whole']

const ALL_NAMED = { lostFiles: 0, unnamedNeedles: 0, problems: [] }

let cluster: DocumentCluster
let survivor: ServerProcess & { readonly door: DocumentDoor }

beforeAll(async () => {
  cluster = await DocumentCluster.start()
  survivor = await cluster.startGateway()
}, 120_000)

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]()
})

/** A document is read whole, as it was at some moment since the read began. */
async function expectOneGeneration(ledger: DocumentLedger, door: DocumentDoor, key: string) {
  const place = ledger.place(key)
  const found = textOf(await door.fields(key))
  const possible = ledger.since(key, place).map((document) => textOf(document?.fields))
  expect(possible, `${key} as it was read`).toContain(found)
}

/** The next write of this key that comes to the phase. */
function planFor(ledger: DocumentLedger, prng: Prng, key: string, phase: DocumentPhase) {
  const isByFields = ledger.known(key)?.strategy === 'field_hybrid'
  const kinds = KINDS[phase].filter((kind) => isByFields || !kind.startsWith('hot'))
  return ledger.plan(key, prng.pick(kinds), prng.between(100, 40_000))
}

async function writeUntilDeath(
  ledger: DocumentLedger,
  gateway: DoomedGateway,
  next: () => DocumentWrite,
  nth: number,
): Promise<DocumentWrite> {
  for (let turn = 1; turn < nth; turn++) {
    const write = next()
    ledger.begin(write)
    expect(await gateway.door.write(write)).toMatchObject({ status: 200 })
    ledger.acknowledge(write)
  }
  const last = next()
  ledger.begin(last)
  expect(await gateway.door.write(last), `${last.kind} of ${last.key}`).toMatchObject({ status: 0 })
  await gateway.exited()
  expect(gateway.isDead).toBe(true)
  return last
}

/** Writes and reads of other documents, and reads of all, until it is told to stop. */
async function workBeside(ledger: DocumentLedger, keys: readonly string[], signal: AbortSignal) {
  const prng = new Prng(keys.length)
  const { door } = survivor
  while (!signal.aborted) {
    const key = prng.pick(keys)
    const write = ledger.plan(key, ledger.pickKind(key), prng.between(100, 20_000))
    ledger.begin(write)
    expect(await door.write(write), `${write.kind} of ${key}`).toMatchObject({ status: 200 })
    ledger.acknowledge(write)
    await expectOneGeneration(ledger, door, key)
    await expectOneGeneration(ledger, door, prng.pick(ledger.keys))
    await sleep(20)
  }
}

interface Death {
  readonly phase: DocumentPhase
  readonly write: DocumentWrite
}

async function killAll(ledger: DocumentLedger, prng: Prng, batch: number): Promise<Death[]> {
  const phases = Array.from(
    { length: BATCH },
    (_, at) => DOCUMENT_PHASES[at % DOCUMENT_PHASES.length],
  )
  const numbers = Array.from({ length: DOCUMENTS }, (_, at) => at)
  // Every fifth is the first write of its key.
  const keys = prng
    .shuffle(numbers)
    .map((number) => (prng.chance(0.2) ? `new-${batch}-${number}` : `document-${number}`))
  const deaths = phases.map(async (phase = 'planned', at) => {
    const key = keys[at] ?? ''
    const nth = prng.between(1, 2)
    await using gateway = await cluster.startDoomed(phase, nth)
    const next = () => planFor(ledger, prng, key, phase)
    return { phase, write: await writeUntilDeath(ledger, gateway, next, nth) }
  })
  return await Promise.all(deaths)
}

/** Named: it is the new one. Otherwise it is the one before. */
async function expectExact(ledger: DocumentLedger, deaths: readonly Death[]): Promise<void> {
  for (const { phase, write } of deaths) {
    const { key, kind, made } = write
    const wanted = phase === 'named' ? made : ledger.known(key)
    const found = textOf(await survivor.door.fields(key))
    expect(found, `${key} after ${kind} that died at ${phase}`).toBe(textOf(wanted?.fields))
    ledger.settle(key, wanted)
  }
}

async function healedIntents(deaths: readonly Death[]): Promise<void> {
  const keys = new Set(deaths.map(({ write }) => write.key))
  await cluster.until('writes of dead gateways are given up', async () => {
    return !(await cluster.intents()).some((key) => keys.has(key))
  })
}

/** What was given up or replaced is gone from the servers. */
async function nothingDropped(): Promise<void> {
  const isSo = async () => (await cluster.dropped()).length === 0
  await cluster.until('what has lost its name is deleted', isSo, 2 * MINUTES)
}

// Goal: a gateway that dies at any phase of a write leaves the old document or the new one, and
// nothing that stays behind.
// Method: gateways that kill themselves at a phase, each phase equally often, while another one
// works; then every document is compared with what clients were told, and every needle with rows.
test(
  `${CYCLES} gateways killed at phases of a write leave the old document or the new one`,
  async () => {
    const prng = new Prng(1)
    const ledger = new DocumentLedger(prng)
    const stopping = new AbortController()
    const beside = [0, 1].map((client) => {
      const keys = Array.from({ length: client + 2 }, (_, at) => `other-${client}-${at}`)
      return workBeside(ledger, keys, stopping.signal)
    })
    const deaths: Death[] = []
    const killing = async (): Promise<void> => {
      for (let batch = 0; batch < CYCLES / BATCH; batch++) {
        const died = await killAll(ledger, prng, batch)
        await expectExact(ledger, died)
        await healedIntents(died)
        for (const { write } of died) await expectOneGeneration(ledger, survivor.door, write.key)
        deaths.push(...died)
      }
      stopping.abort()
    }
    await Promise.all([killing(), ...beside.map((work) => work.finally(() => stopping.abort()))])
    expect(deaths).toHaveLength(CYCLES)

    expect(await cluster.intents()).toEqual([])
    const passes = await cluster.jobs.listJobs({ kind: 'heal', withEnded: true }, NEVER)
    expect(passes.map(({ reason }) => reason)).toContain('a gateway has gone')
    await nothingDropped()
    const left = deaths.filter(({ phase, write: { kind } }) => {
      return phase === 'hot-stored' && ONE_NEEDLE.includes(kind)
    })
    const found = await cluster.check()
    expect(found).toMatchObject({ lostFiles: 0, unnamedNeedles: left.length, foreignNeedles: 0 })
    await cluster.collectOrphans()
    expect(await cluster.check()).toMatchObject(ALL_NAMED)
    expect(await cluster.crowdedFiles()).toEqual([])

    for (const key of ledger.keys) {
      const isThere = ledger.known(key) !== undefined
      expect((await survivor.door.delete(key)).status, key).toBe(isThere ? 200 : 404)
    }
    await nothingDropped()
    await cluster.until('no byte of a document is left', async () => {
      return (await survivor.door.storageUsage()).total_system_size === 0
    })
    console.log(
      `phases: ${deaths.length} gateways killed, ${ledger.ackedCount} writes acknowledged, ` +
        `${left.length} single needles left to the collector of orphans`,
    )
  },
  TEST_MS_MAX,
)

interface Traffic {
  readonly ledger: DocumentLedger
  writesFailed: number
  readsFailed: number
  readsDone: number
}

/** Writes what it may and notes what it is told; a document in doubt is written whole. */
async function writeThrough(
  traffic: Traffic,
  door: DocumentDoor,
  client: string,
  signal: AbortSignal,
): Promise<void> {
  const { ledger } = traffic
  const prng = new Prng(Buffer.from(client).readUInt32LE(client.length - 4))
  const keys = [0, 1, 2].map((number) => `${client}-${number}`)
  while (!signal.aborted) {
    const key = prng.pick(keys)
    const write = ledger.plan(key, ledger.pickKind(key), prng.between(100, 30_000))
    ledger.begin(write)
    const { status, text } = await door.write(write)
    // A hot update of a document whose write before it is in doubt may be refused, and no other.
    expect([200, 0, 500, 502, 503, 504], `${write.kind} of ${key}: ${text}`).toContain(status)
    if (status === 200) ledger.acknowledge(write)
    else traffic.writesFailed++
    await readSome(traffic, door, prng.pick(keys))
    // Nobody listens: it is not asked faster than it may start.
    await sleep(status === 0 ? 200 : 10)
  }
}

async function readSome(traffic: Traffic, door: DocumentDoor, key: string): Promise<boolean> {
  const { ledger } = traffic
  const possible = ledger.possible(key).map((document) => textOf(document?.fields))
  const { status, text } = await door.read(key)
  if (status !== 200 && status !== 404) {
    traffic.readsFailed++
    return false
  }
  traffic.readsDone++
  const found = status === 404 ? undefined : textOf(JSON.parse(text))
  expect(possible, `${key} as it was read`).toContain(found)
  return true
}

async function killOfSet(prng: Prng, victims: readonly ServerProcess[]): Promise<void> {
  const { master } = cluster.processes
  await Promise.all(victims.map((victim) => victim.kill()))
  await sleep(prng.below(1000))
  // Others ask the master for their place.
  if (victims.includes(master)) await master.restart()
  await Promise.all(victims.filter((victim) => victim !== master).map((each) => each.restart()))
}

// Goal: no kill -9 of anything but the disks loses what a client was told is written.
// Method: four clients write and read through one gateway, a fifth through another that dies, while
// processes are killed one after another, and all at once.
test(
  `kill -9 of any process, ${SET_KILLS} times, loses nothing acknowledged`,
  async () => {
    const prng = new Prng(2)
    const ledger = new DocumentLedger(prng)
    const traffic: Traffic = { ledger, writesFailed: 0, readsFailed: 0, readsDone: 0 }
    const mortal = await cluster.startGateway()
    const stopping = new AbortController()
    const names = Array.from({ length: CLIENTS }, (_, at) => `client-${at}`)
    const clients = names.map((name) => writeThrough(traffic, survivor.door, name, stopping.signal))
    clients.push(writeThrough(traffic, mortal.door, 'mortal', stopping.signal))
    const { master, volumes } = cluster.processes
    const killing = async (): Promise<void> => {
      for (let kill = 0; kill < SET_KILLS; kill++) {
        await sleep(prng.between(200, 1500))
        const single = [mortal, cluster.worker, master, prng.pick(volumes)]
        const at = kill % (single.length + 1)
        await killOfSet(prng, at === single.length ? single : single.slice(at, at + 1))
      }
      stopping.abort()
    }
    await Promise.all([killing(), ...clients.map((work) => work.finally(() => stopping.abort()))])

    for (const key of ledger.keys) {
      await cluster.until(`${key} is read`, () => readSome(traffic, survivor.door, key))
    }
    await cluster.until('no write is under way', async () => (await cluster.intents()).length === 0)
    await nothingDropped()
    expect(await cluster.check()).toMatchObject({ lostFiles: 0, foreignNeedles: 0 })
    await cluster.collectOrphans()
    expect(await cluster.check()).toMatchObject(ALL_NAMED)
    for (const key of ledger.keys) {
      expect(await readSome(traffic, survivor.door, key), key).toBe(true)
    }
    expect(await cluster.crowdedFiles()).toEqual([])
    const { readsDone, readsFailed, writesFailed } = traffic
    console.log(
      `set: ${SET_KILLS} kills, ${ledger.ackedCount} writes acknowledged, ` +
        `${writesFailed} failed, ${readsDone} reads answered, ${readsFailed} failed`,
    )
    expect(ledger.ackedCount).toBeGreaterThan(SET_KILLS)
  },
  TEST_MS_MAX,
)
