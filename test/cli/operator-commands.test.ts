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
import { FakeJobs, HEALTH } from '../support/fake-jobs-api.ts'
import { FakeMaster } from '../support/fake-master-api.ts'
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
    expect(yellow.out).toMatch(/\n {2}LINK_BROKEN for \d+ d .*: a to b\n/)
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
