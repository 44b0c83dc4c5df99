import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { GrpcServer } from '../../src/net/grpc-server.ts'
import type { JobView } from '../../src/net/jobs-api.ts'
import { jobsService } from '../../src/net/serve-jobs.ts'
import { masterService } from '../../src/net/serve-master.ts'
import { cancelledError, onAbort } from '../../src/runtime/abort.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { type CliRun, type CliRunOptions, runCli } from '../support/cli-run.ts'
import { CODED_FACTS, FakeJobs, HEALTH } from '../support/fake-jobs-api.ts'
import { FakeMaster } from '../support/fake-master-api.ts'
import { SHARD_REPORT } from '../support/fake-shards.ts'
import { NODE } from '../support/fake-volume-api.ts'
import { makeHealth, makeJob } from '../support/job-views.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

let temp: Awaited<ReturnType<typeof openTempDirectory>>
let master: FakeMaster
let jobs: FakeJobs
let server: GrpcServer
let settings: Readonly<Record<string, string>>

beforeEach(async () => {
  temp = await openTempDirectory()
  master = new FakeMaster()
  jobs = new FakeJobs()
  const secret = Buffer.alloc(32, 7)
  const secretFile = join(temp.path, 'cluster.secret')
  await writeFile(secretFile, `${secret.toString('hex')}\n`)
  server = await GrpcServer.open(
    { logger: silentLogger, clock: systemClock, secret, tls: undefined },
    { host: '127.0.0.1', port: 0, services: [masterService(master), jobsService(jobs)] },
  )
  const address = `127.0.0.1:1.${server.address.port}`
  settings = { HAYLOFT_MASTER: address, HAYLOFT_SECRET_FILE: secretFile }
})

afterEach(async () => {
  await server.close(0)
  await temp[Symbol.asyncDispose]()
})

/** Against the master of this test, with its secret. */
function hayloft(args: readonly string[], options: CliRunOptions = {}): Promise<CliRun> {
  const env = { ...settings, ...options.env }
  return runCli(args, new NodeDisk(), { isRealTime: true, ...options, env })
}

/** What was asked with this call, the last time. */
function asked(name: string): unknown {
  return jobs.requests[jobs.calls.lastIndexOf(name)]
}

/** From now on these are the jobs, and watchers hear of nothing. */
function haveJobs(...views: readonly JobView[]): void {
  jobs.listJobs = async () => views
  jobs.watchJobs = async function* (signal) {
    yield* views.filter(({ endedAtMs }) => endedAtMs === 0)
    await new Promise<void>((_, reject) => {
      onAbort(signal, () => reject(cancelledError(signal, 'while watching')))
    })
  }
}

describe('hayloft status', () => {
  test('is 0 when the cluster is green, and 1 when it is not', async () => {
    const yellow = await hayloft(['status'])
    expect(yellow).toMatchObject({ exitCode: 1, err: '' })
    expect(yellow.out).toMatch(/^yellow: .* cannot be read now; .* below full redundancy for /)
    expect(yellow.out).toContain('\n  doing: volume 7: one of two copies\n  doing: volume 8\n')
    expect(yellow.out).toMatch(/\n {2}LINK_BROKEN for \d+ d.*: a to b\n/)
    jobs.health = async () => makeHealth()
    const green = await hayloft(['status'])
    expect(green).toMatchObject({ exitCode: 0, err: '' })
    expect(green.out).toMatch(/^green: healthy, every volume has all its copies\n/)
    const document = JSON.parse((await hayloft(['status', '--json'])).out)
    expect(document).toMatchObject({ healthy: true, health: { color: 'green' } })
  })

  test('needs no secret', async () => {
    const { HAYLOFT_MASTER = '' } = settings
    const run = await runCli(['status', '--json'], new NodeDisk(), {
      isRealTime: true,
      env: { HAYLOFT_MASTER },
    })
    expect(JSON.parse(run.out)).toMatchObject({ healthy: false, health: HEALTH })
  })

  test('says that there is no leader', async () => {
    jobs.isLeader = false
    const run = await hayloft(['status'])
    expect(run).toMatchObject({ exitCode: 1, err: '' })
    expect(run.out).toMatch(/^red: there is no leader\n/)
  })
})

test('lookup --copies shows the copies that count, are lost, and are left out', async () => {
  const { out } = await hayloft(['lookup', '7', '--copies'])
  const lines = out.trimEnd().split('\n')
  expect(lines[0]).toMatch(
    /^volume 7: replication \d{3}, writes best-effort, 2 files to be made equal$/,
  )
  expect(lines[1]).toMatch(/^NODE +PLACE +COPY +STATE +DIRECTORY +FILES +BYTES +REVISION$/)
  expect(lines.slice(2)).toEqual([
    expect.stringMatching(/ counts +\S+ +d +\d+ /),
    expect.stringMatching(/^b:1 .* lost +down +- +- +- +-$/),
    expect.stringMatching(/ stray +\S+ +e +\d+ /),
  ])
  const document = JSON.parse((await hayloft(['lookup', '7', '--copies', '--json'])).out)
  expect(document).toMatchObject({ volumeId: 7, members: [{}, { isLost: true }], dirtyCount: 2 })
})

test('durability prints the report, and one document for programs', async () => {
  const { out } = await hayloft(['durability'])
  expect(out).toMatch(/^SCHEME .*\nreplication 110 .* 2\.0 %\* .* 11\.5 .* 9\.3 .* 1e-9 /)
  const document = JSON.parse((await hayloft(['durability', '--json'])).out)
  expect(document).toMatchObject({ ninesCap: 9, schemes: [{ scheme: 'replication 110' }] })
})

describe('hayloft job list', () => {
  test('has running jobs first, then the riskiest, and ended ones last when asked', async () => {
    haveJobs(
      makeJob({ id: 1, risk: 1 }),
      makeJob({ id: 2, state: 'done', endedAtMs: 50 }),
      makeJob({ id: 3, state: 'failed', error: 'X: y', endedAtMs: 60 }),
      makeJob({ id: 4, risk: 9 }),
      makeJob({ id: 5, state: 'running', worker: 'w' }),
    )
    const { out, exitCode } = await hayloft(['job', 'list', '--all'])
    expect(exitCode).toBe(0)
    const ids = out.split('\n').map((line) => line.split(' ', 1)[0])
    expect(ids).toEqual(['ID', '5', '4', '1', '3', '2', ''])
    const documents = (await hayloft(['job', 'list', '--all', '--json'])).out.trim().split('\n')
    expect(documents.map((line) => JSON.parse(line).id)).toEqual([5, 4, 1, 3, 2])
  })

  test('asks for a kind', async () => {
    await hayloft(['job', 'list', '--kind', 'scrub'])
    expect(asked('listJobs')).toEqual({ kind: 'scrub', withEnded: false })
    const wrong = await hayloft(['job', 'list', '--kind', 'magic'])
    expect(wrong.err).toMatch(/^hayloft: CONFIG_INVALID: --kind "magic": it must be one of /)
  })
})

describe('hayloft job run', () => {
  test('queues a job for each volume named, with the reason', async () => {
    const args = ['--volume', '3,9', '--deep', '--reason', 'looks odd']
    const { out } = await hayloft(['job', 'run', 'replica-repair', ...args])
    expect(out.match(/^job \d+ replica-repair volume [39] deep: /gm)).toHaveLength(2)
    expect(jobs.calls).toEqual(['runJob', 'runJob'])
    const target = { volumeId: volumeId(9), isDeep: true }
    expect(asked('runJob')).toMatchObject({ kind: 'replica-repair', target, reason: 'looks odd' })
  })

  test('asks the master which volumes there are for all', async () => {
    await hayloft(['job', 'run', 'scrub', '--volume', 'all', '--collection', 'photos'])
    expect(asked('listVolumes')).toBe('photos')
    expect(jobs.calls).toEqual(['listVolumes', 'runJob', 'runJob'])
  })

  test.each([
    [['job', 'run', 'magic']],
    [['job', 'run', 'scrub']],
    [['job', 'run', 'rebalance', '--volume', '3']],
    [['job', 'run', 'set-replication', '--collection', 'c']],
    [['job', 'pause', 'x']],
    [['job', 'cancel', '0']],
    [['job', 'watch', '3', '3']],
    [['collection', 'set', 'photos']],
    [['collection', 'set', 'photos', '--write-policy', 'all', '--existing']],
    [['collection', 'set', 'photos', '--write-policy', 'hope']],
    [['collection', 'set', 'photos', '--erasure', '10+4', '--existing']],
    [['ec', 'status', '--volume', 'some']],
    [['worker', '--kinds', 'magic']],
    [['worker', '--width', '0']],
    [['worker', '--name', 'a b']],
  ])('%j is refused before anything is asked', async (args) => {
    const run = await hayloft(args)
    expect(run).toMatchObject({ exitCode: 2, out: '' })
    expect(run.err).toMatch(/^hayloft: CONFIG_INVALID: [^\n]+\n$/)
    expect(jobs.calls).toEqual([])
  })

  test('tells what the master refuses', async () => {
    jobs.runJob = async () => {
      throw new StoreError('VOLUME_NOT_FOUND', 'there is no volume 3')
    }
    const run = await hayloft(['job', 'run', 'scrub', '--volume', '3'])
    expect(run).toMatchObject({ exitCode: 2, out: '' })
    expect(run.err).toBe('hayloft: VOLUME_NOT_FOUND: there is no volume 3\n')
  })

  test('--watch waits for the end, and is 1 when it failed', async () => {
    jobs.runJob = async () => makeJob({ id: 8 })
    haveJobs(makeJob({ id: 8, state: 'done', endedAtMs: 1, summary: 'all equal' }))
    const args = ['job', 'run', 'scrub', '--volume', '7', '--watch']
    const done = await hayloft(args)
    expect(done).toMatchObject({ exitCode: 0, err: '' })
    expect(done.out).toBe('job 8 replica-repair volume 7: done: all equal\n')
    haveJobs(makeJob({ id: 8, state: 'failed', endedAtMs: 1, error: 'X: y' }))
    expect(await hayloft(args)).toMatchObject({ exitCode: 1, err: '' })
  })
})

describe('hayloft job pause, resume, cancel, watch', () => {
  test.each(['pause', 'resume', 'cancel'])('%s orders each of the jobs named', async (order) => {
    const { exitCode, out } = await hayloft(['job', order, '4', '5'])
    expect(exitCode).toBe(0)
    expect(out.match(/^job [45] replica-repair volume 7 deep: /gm)).toHaveLength(2)
    expect(jobs.calls).toEqual(['orderJob', 'orderJob'])
    expect(asked('orderJob')).toEqual({ id: 5, order })
  })

  test('watch goes on until Ctrl-C, which is no failure', async () => {
    haveJobs(makeJob({ id: 1, state: 'running', worker: 'w' }))
    const stop = new AbortController()
    const onOutput = (out: Buffer): void => {
      if (out.includes('\n')) stop.abort()
    }
    const run = await hayloft(['job', 'watch'], { signal: stop.signal, onOutput })
    expect(run).toEqual({
      exitCode: 0,
      out: 'job 1 replica-repair volume 7: running on w: -\n',
      err: '',
    })
  })

  test('watch of a job that there is not says so', async () => {
    haveJobs()
    const run = await hayloft(['job', 'watch', '9'])
    expect(run).toEqual({
      exitCode: 2,
      out: '',
      err: 'hayloft: JOB_NOT_FOUND: there is no job 9\n',
    })
  })
})

describe('hayloft node', () => {
  test('ls shows servers with what is special about them', async () => {
    const { out } = await hayloft(['node', 'ls'])
    expect(out).toContain(`${NODE.url}  ${NODE.dataCenter}/${NODE.rack}`)
    expect(out).toContain('up, flapping, draining')
    const document = JSON.parse((await hayloft(['node', 'ls', '--json'])).out)
    expect(document).toMatchObject({ location: NODE, isDraining: true, volumeCount: 1 })
  })

  test('ls counts the shards on each disk, once there are some', async () => {
    const topology = await master.topology(new AbortController().signal)
    const [node] = topology.nodes
    if (node === undefined) throw new Error('no server')
    master.topology = async () => ({ ...topology, nodes: [{ ...node, shards: [] }] })
    expect((await hayloft(['node', 'ls'])).out).toMatch(/^NODE .* FREE\n/)
    const bytes = { totalBytes: 2 ** 40, freeBytes: 2 ** 39, reserveBytes: 0 }
    const disks = ['d1', 'd2'].map((directoryId) => {
      const counts = { quarantinedCount: 0, clusterId: 'c0ffee' }
      return { directoryId, path: `/${directoryId}`, ...bytes, ...counts }
    })
    const shards = [
      { ...SHARD_REPORT, directoryId: 'd1', shards: [0, 3, 13] },
      { ...SHARD_REPORT, directoryId: 'd1', runId: '2', shards: [1] },
    ]
    master.topology = async () => ({ ...topology, nodes: [{ ...node, disks, shards }] })
    const { out } = await hayloft(['node', 'ls'])
    expect(out.split('\n').slice(0, 3)).toEqual([
      expect.stringMatching(/^NODE .* FREE {2}SHARDS$/),
      expect.stringMatching(/ \/d1 .* 4$/),
      expect.stringMatching(/ \/d2 .* 0$/),
    ])
    const document = JSON.parse((await hayloft(['node', 'ls', '--json'])).out)
    expect(document).toMatchObject({ shardCount: 4 })
    expect(document).not.toHaveProperty('shards')
  })

  test('forget gives a server up', async () => {
    const { out } = await hayloft(['node', 'forget', 'b:1'])
    expect(out).toBe('b:1 is given up: its copies count as lost from now on\n')
    expect(asked('forgetNode')).toBe('b:1')
  })

  test('drain queues its evacuation', async () => {
    const { out } = await hayloft(['node', 'drain', 'b:1'])
    expect(out).toMatch(/^job \d+ evacuate b:1: /)
    expect(asked('runJob')).toMatchObject({ kind: 'evacuate', target: { node: 'b:1' } })
  })
})

describe('hayloft collection', () => {
  test('ls shows how each is kept', async () => {
    const { out } = await hayloft(['collection', 'ls'])
    expect(out.split('\n').slice(1, 3)).toEqual([
      expect.stringMatching(/^c {11}\d{3} .* best-effort /),
      expect.stringMatching(/^\(none\) {6}the cluster's {2}all /),
    ])
    const [first = ''] = (await hayloft(['collection', 'ls', '--json'])).out.split('\n')
    expect(JSON.parse(first)).toMatchObject({ collection: 'c', replication: expect.any(String) })
  })

  test('set tells the master, and queues the change of what is there', async () => {
    const replication = parseReplicaPlacement('110')
    const args = ['collection', 'set', 'photos', '--replication', '110']
    expect((await hayloft(args)).out).toBe('photos: replication 110 from now on\n')
    const wanted = { collection: 'photos', replication, writePolicy: undefined }
    expect(master.settings).toEqual([wanted])
    expect(jobs.calls).toEqual([])
    const all = await hayloft([...args, '--write-policy', 'best-effort', '--existing'])
    const lines = all.out.split('\n')
    expect(lines[0]).toBe('photos: replication 110, write policy best-effort from now on')
    expect(lines[1]).toMatch(/^job \d+ set-replication photos to 110: /)
    expect(master.settings[1]).toEqual({ ...wanted, writePolicy: 'best-effort' })
    const target = { collection: 'photos', replication }
    expect(asked('runJob')).toMatchObject({ kind: 'set-replication', target })
  })

  test('set tells the master how full volumes are coded, and ls shows it', async () => {
    const set = ['collection', 'set', 'photos', '--erasure']
    expect((await hayloft([...set, '10+4'])).out).toBe('photos: erasure 10+4 from now on\n')
    expect((await hayloft([...set, 'off'])).out).toBe('photos: erasure off from now on\n')
    const other = { collection: 'photos', replication: undefined, writePolicy: undefined }
    expect(master.settings).toEqual([
      { ...other, erasure: { dataShards: 10, parityShards: 4 } },
      { ...other, erasure: 'off' },
    ])
    expect((await hayloft([...set, '10+40'])).err).toMatch(/^hayloft: ERASURE_INVALID: /)
    expect(master.settings).toHaveLength(2)
    const collections = await master.collections(new AbortController().signal)
    const erasure = { dataShards: 4, parityShards: 2 }
    master.collections = async () => collections.map((report) => ({ ...report, erasure }))
    const { out } = await hayloft(['collection', 'ls'])
    expect(out).toMatch(/^COLLECTION +COPIES +WRITES +ERASURE +VOLUMES /)
    expect(out).toMatch(/^c .* best-effort +4\+2 +/m)
    const [first = ''] = (await hayloft(['collection', 'ls', '--json'])).out.split('\n')
    expect(JSON.parse(first)).toMatchObject({ collection: 'c', erasure: '4+2' })
  })

  test('set changes nothing when what is there cannot be changed', async () => {
    const args = ['collection', 'set', 'photos', '--replication', '110', '--existing']
    jobs.runJob = async () => {
      throw new StoreError('PLACEMENT_IMPOSSIBLE', 'there is one data centre')
    }
    const run = await hayloft(args)
    expect(run).toEqual({
      exitCode: 2,
      out: '',
      err: 'hayloft: PLACEMENT_IMPOSSIBLE: there is one data centre\n',
    })
    expect(master.settings).toEqual([])
    jobs.runJob = async () => {
      throw new StoreError('COLLECTION_NOT_FOUND', 'there is none')
    }
    expect((await hayloft(args)).out).toBe('photos: replication 110 from now on\n')
    expect(master.settings).toHaveLength(1)
  })
})

describe('hayloft ec status', () => {
  const coded = [4, 6]

  beforeEach(() => {
    const listed = Array.from({ length: 20 }, (_, index) => volumeId(index + 1))
    jobs.listVolumes = async () => listed
    const { volumeFacts } = jobs
    jobs.volumeFacts = async (id, signal) => {
      if (id === 9) throw new StoreError('VOLUME_NOT_FOUND', `there is no volume ${id}`)
      const facts = await volumeFacts.call(jobs, id, signal)
      return coded.includes(id) ? { ...CODED_FACTS, volumeId: id } : facts
    }
  })

  test('shows coded volumes only, in their order, and is 1 when shards are gone', async () => {
    const run = await hayloft(['ec', 'status'])
    expect(run).toMatchObject({ exitCode: 1, err: '' })
    const heads = run.out.split('\n').filter((line) => line.startsWith('volume'))
    expect(heads).toEqual([
      expect.stringMatching(/^volume 4 of pictures: 2\+1, run 1700000000000000001, /),
      expect.stringMatching(/^volume 6 of pictures: 2\+1, /),
    ])
    expect(run.out).toContain('  lacks: shard 1 is lost\n')
    expect(run.out.trimEnd().split('\n').at(-1)).toBe(
      'p: parity, !: has bad blocks, ?: its server does not have it, x: lost',
    )
  })

  test('prints one object a line for programs', async () => {
    const run = await hayloft(['ec', 'status', '--json'])
    const documents = run.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(documents.map((document) => document.volumeId)).toEqual(coded)
    expect(documents[0]).toMatchObject({ scheme: '2+1', goodShards: 0, lacks: expect.any(Array) })
    expect(run.exitCode).toBe(1)
  })

  test('says of a volume that is named when it is not coded, or not there', async () => {
    const run = await hayloft(['ec', 'status', '--volume', '5'])
    expect(run).toEqual({ exitCode: 0, out: 'volume 5: not erasure-coded\n', err: '' })
    const gone = await hayloft(['ec', 'status', '--volume', '4,9'])
    expect(gone.err).toBe('hayloft: VOLUME_NOT_FOUND: there is no volume 9\n')
  })

  test('says when there is none, of a collection too', async () => {
    let asked: string | undefined
    jobs.listVolumes = async (collection) => {
      asked = collection
      return [volumeId(5)]
    }
    const run = await hayloft(['ec', 'status', '--collection', 'photos'])
    expect(run).toEqual({ exitCode: 0, out: 'no volume is erasure-coded\n', err: '' })
    expect(asked).toBe('photos')
    expect((await hayloft(['ec', 'status', '--json'])).out).toBe('')
  })
})

test('lookup --copies says of a coded volume where to look', async () => {
  jobs.volumeFacts = async () => CODED_FACTS
  const { out } = await hayloft(['lookup', '7', '--copies'])
  expect(out.split('\n')[0]).toBe(
    'volume 7: erasure-coded 2+1, 2 files to be made equal, see hayloft ec status',
  )
})

test('worker says that it is ready, asks for jobs of its kinds, and ends in order', async () => {
  jobs.lease = undefined
  const stop = new AbortController()
  let running: Promise<CliRun> | undefined
  const ready = new Promise<void>((resolve) => {
    const seen = new Set<string>()
    const note = (what: string): void => {
      seen.add(what)
      if (seen.size === 2) resolve()
    }
    jobs.beforeCall = async (name) => note(name)
    const onOutput = (out: Buffer): void => {
      if (out.includes('job watch\n')) note('banner')
    }
    const args = ['worker', '--name', 'w7', '--kinds', 'scrub,vacuum', '--data-center', 'dc2']
    running = hayloft(args, { signal: stop.signal, onOutput })
  })
  await ready
  stop.abort()
  const result = await running
  expect(result?.exitCode).toBe(0)
  expect(result?.out).toContain('  name     w7\n  jobs     scrub, vacuum, 2 at once\n')
  expect(asked('takeJob')).toMatchObject({ queue: 'dc2', kinds: ['scrub', 'vacuum'] })
})
