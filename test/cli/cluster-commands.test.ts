import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { type RunningServer, startServer } from '../../src/server/start-server.ts'
import { type CliRun, type CliRunOptions, runCli } from '../support/cli-run.ts'
import { describeTree, makeTree } from '../support/file-tree.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

let temp: Awaited<ReturnType<typeof openTempDirectory>>
let server: RunningServer
let master: string

beforeAll(async () => {
  temp = await openTempDirectory()
  const dir = join(temp.path, 'data')
  server = await startServer({ dir, port: 0, volumePort: 0, volumeSize: '64MiB' })
  const port = server.masterGrpcAddress.slice(server.masterGrpcAddress.lastIndexOf(':') + 1)
  master = `${server.masterUrl.replace('http://', '')}.${port}`
})

afterAll(async () => {
  await server?.close()
  await temp[Symbol.asyncDispose]()
})

/** Against the cluster of this file. */
function hayloft(args: readonly string[], options: CliRunOptions = {}): Promise<CliRun> {
  const env = { HAYLOFT_MASTER: master, ...options.env }
  return runCli(args, new NodeDisk(), { isRealTime: true, ...options, env })
}

test('put prints a file id, get its bytes, rm deletes it and tells when there is nothing', async () => {
  const path = join(temp.path, 'hello.txt')
  await writeFile(path, 'hello')
  const put = await hayloft(['put', path])
  expect(put).toMatchObject({ exitCode: 0, err: '' })
  const fileId = put.out.trim()
  expect(fileId).toMatch(/^\d+,[0-9a-f]{9,}$/)
  expect(await hayloft(['get', fileId])).toEqual({ exitCode: 0, out: 'hello', err: '' })
  const range = await hayloft(['get', fileId, '--range', '1-3'])
  expect(range).toEqual({ exitCode: 0, out: 'ell', err: '' })
  expect((await hayloft(['get', fileId, '--range', '3-'])).out).toBe('lo')
  expect(await hayloft(['rm', fileId])).toEqual({
    exitCode: 0,
    out: `deleted ${fileId}\n`,
    err: '',
  })
  const again = await hayloft(['rm', fileId])
  expect(again).toEqual({ exitCode: 1, out: '', err: `hayloft: ${fileId} was not there\n` })
  const gone = await hayloft(['get', fileId])
  expect(gone).toMatchObject({ exitCode: 2, out: '' })
  expect(gone.err).toMatch(/^hayloft: NEEDLE_NOT_FOUND: /)
})

test('put takes standard input and names; --json tells all there is to know', async () => {
  const bytes = Buffer.from([0, 255, 10, 13, 0, 128])
  const put = await hayloft(['put', '-', '--name', 'bin/1,00.bin', '--json'], { input: bytes })
  expect(JSON.parse(put.out)).toMatchObject({ sizeBytes: 6, name: 'bin/1,00.bin' })
  const target = join(temp.path, 'copy.bin')
  expect(await hayloft(['get', 'bin/1,00.bin', '-o', target])).toMatchObject({ exitCode: 0 })
  expect(await readFile(target)).toEqual(bytes)
  let written: Buffer = Buffer.alloc(0)
  const onOutput = (out: Buffer): void => {
    written = out
  }
  await hayloft(['get', 'bin/1,00.bin'], { onOutput })
  expect(written).toEqual(bytes)
  const names = await hayloft(['names', 'ls', 'bin/', '--long'])
  expect(names.out).toMatch(/^\d+,[0-9a-f]+ 6 \d{4}-.*Z bin\/1,00\.bin\n$/)
  expect((await hayloft(['rm', 'bin/1,00.bin'])).out).toBe('deleted bin/1,00.bin\n')
  expect(await hayloft(['names', 'ls', 'bin/'])).toEqual({ exitCode: 0, out: '', err: '' })
})

test('what reads as a file id is one, anything else a name', async () => {
  expect((await hayloft(['get', '999,01637037d6'])).err).toMatch(/^hayloft: VOLUME_NOT_FOUND/)
  expect((await hayloft(['get', '999,0163'])).err).toMatch(/^hayloft: NAME_NOT_FOUND/)
  expect((await hayloft(['put', '-', '--name', '9,01637037d6'])).err).toMatch(/NAME_INVALID/)
})

test('get writes over nothing without --overwrite, and leaves nothing half', async () => {
  const target = join(temp.path, 'precious')
  await writeFile(target, 'mine')
  await hayloft(['put', '-', '--name', 'n'], { input: 'new' })
  const refused = await hayloft(['get', 'n', '-o', target])
  expect(refused).toMatchObject({ exitCode: 2, err: expect.stringContaining('TARGET_EXISTS') })
  expect(await readFile(target, 'utf8')).toBe('mine')
  expect(await hayloft(['get', 'n', '-o', target, '--overwrite'])).toMatchObject({ exitCode: 0 })
  expect(await readFile(target, 'utf8')).toBe('new')
  const none = join(temp.path, 'none')
  expect(await hayloft(['get', 'no-such-name', '-o', none])).toMatchObject({ exitCode: 2 })
  await expect(stat(none)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('lookup tells where a volume, a file and a name are', async () => {
  const { out } = await hayloft(['put', '-', '--name', 'where'], { input: 'x' })
  const fileId = out.trim()
  const volumeId = fileId.slice(0, fileId.indexOf(','))
  const [volumeUrl = ''] = server.volumeUrls
  const file = `${volumeUrl}/${fileId}  dc1/rack1\n`
  expect(await hayloft(['lookup', fileId])).toEqual({ exitCode: 0, out: file, err: '' })
  expect((await hayloft(['lookup', 'where'])).out).toBe(file)
  const server1 = volumeUrl.replace('http://', '')
  expect((await hayloft(['lookup', volumeId])).out).toBe(`${server1}  dc1/rack1\n`)
  expect((await hayloft(['lookup', '4000000000'])).err).toMatch(/^hayloft: VOLUME_NOT_FOUND: /)
})

test('status shows the node and its health; --json the same for programs', async () => {
  const status = await hayloft(['status'])
  expect(status).toMatchObject({ exitCode: 0, err: '' })
  expect(status.out).toMatch(/^green: healthy, /)
  const [volumeUrl = ''] = server.volumeUrls
  expect(status.out).toContain(`${volumeUrl.replace('http://', '')}  up     dc1/rack1`)
  expect(JSON.parse((await hayloft(['status', '--json'])).out)).toMatchObject({ healthy: true })
})

test('a job is run to its end by the worker of the server, and listed', async () => {
  const { secretFile } = server
  await hayloft(['put', '-'], { input: 'to be checked' })
  const args = ['job', 'run', 'scrub', '--volume', 'all', '--watch', '--secret-file', secretFile]
  const run = await hayloft(args)
  expect(run).toMatchObject({ exitCode: 0, err: '' })
  expect(run.out).toMatch(/^job \d+ scrub volume 1: done/m)
  const list = await hayloft(['job', 'list', '--all', '--kind', 'scrub'])
  expect(list.out).toMatch(/^ID .*\n(?:\d+ +scrub +volume \d+ +done .*\n)+$/)
  const refused = await hayloft(args.slice(0, -2))
  expect(refused.err).toMatch(/^hayloft: UNAUTHENTICATED: /)
})

test('durability, servers and collections are shown; a collection is set', async () => {
  expect((await hayloft(['durability'])).out).toMatch(/^SCHEME .*\nreplication 000 /)
  const [volumeUrl = ''] = server.volumeUrls
  const nodes = await hayloft(['node', 'ls'])
  expect(nodes.out).toContain(`${volumeUrl.replace('http://', '')}  dc1/rack1  up`)
  const policy = ['--write-policy', 'best-effort', '--secret-file', server.secretFile]
  const set = await hayloft(['collection', 'set', 'photos', '--replication', '000', ...policy])
  expect(set).toMatchObject({ exitCode: 0, err: '' })
  const collections = await hayloft(['collection', 'ls'])
  expect(collections.out).toMatch(/^photos +000 +best-effort +off +0 /m)
})

test('a collection is to be coded as it was told; nothing is yet', async () => {
  const secret = ['--secret-file', server.secretFile]
  const set = ['collection', 'set', 'archive', ...secret, '--erasure']
  expect((await hayloft([...set, '4+2'])).out).toBe('archive: erasure 4+2 from now on\n')
  expect((await hayloft(['collection', 'ls'])).out).toMatch(/^archive +\S.* all +4\+2 +0 /m)
  expect((await hayloft([...set, 'off'])).out).toBe('archive: erasure off from now on\n')
  expect((await hayloft(['collection', 'ls'])).out).toMatch(/^archive +\S.* all +off +0 /m)
  const none = await hayloft(['ec', 'status'])
  expect(none).toEqual({ exitCode: 0, out: 'no volume is erasure-coded\n', err: '' })
})

test('what must not be given up is refused with the reason', async () => {
  const secret = ['--secret-file', server.secretFile]
  const [volumeUrl = ''] = server.volumeUrls
  const url = volumeUrl.replace('http://', '')
  expect((await hayloft(['node', 'forget', url, ...secret])).err).toMatch(
    /^hayloft: REQUEST_INVALID/,
  )
  expect((await hayloft(['node', 'forget', 'a:1', ...secret])).err).toMatch(/^hayloft: NODE_NOT_F/)
  expect((await hayloft(['job', 'cancel', '999999', ...secret])).err).toMatch(/: JOB_NOT_FOUND: /)
})

test('a tree of 60 files is imported and exported as it was; a second import has nothing to do', async () => {
  const tree = join(temp.path, 'tree')
  await makeTree(tree, 60, new Prng(3))
  const first = await hayloft(['import', tree, '--as', 'trees/a', '-q'])
  expect(first).toMatchObject({ exitCode: 0, err: '' })
  expect(first.out).toMatch(/^imported \d+ entries, .* files\/s, .* MB\/s\)\n$/)
  const second = await hayloft(['import', tree, '--as', 'trees/a/', '-q'])
  expect(second.out).toMatch(/^imported 0 entries, .*; \d+ were there already\n$/)
  // To another prefix it is another import, with a journal of its own.
  const other = await hayloft(['import', tree, '--as', 'elsewhere', '-q'])
  expect(other).toMatchObject({ exitCode: 0, err: '' })
  expect(other.out).toMatch(/^imported [1-9]\d* entries/)
  const copy = join(temp.path, 'tree-copy')
  const exported = await hayloft(['export', '--names', 'trees/a', '--to', copy, '-q'])
  expect(exported).toMatchObject({ exitCode: 0, err: '' })
  expect(await describeTree(copy)).toEqual(await describeTree(tree))
  const again = await hayloft(['export', '--names', 'trees/a', '--to', copy, '-q'])
  expect(again).toMatchObject({ exitCode: 2, err: expect.stringContaining('TARGET_EXISTS') })
})

test.each([
  [['export', '--names', 'x', '--tar', 'y']],
  [['export', '--names', 'x', '/v', '--to', 'y']],
  [['export', '--names', 'x']],
  [['export', '--to', 'x']],
  [['import', '/v']],
  [['get', '3,01637037d6', '--range', '5-2']],
  [['get', '3,01637037d6', '--range', 'all']],
  [['bench', '--write', '--read']],
  [['bench', '--via', 'pigeon']],
  [['bench', '-c', '0']],
  [['status', '--master', 'a:b']],
  [['status', '--master', 'a:70000']],
  [['status', '--master', '']],
  [['server', '--volume-servers', '0']],
  [['server', '--port', '70000']],
  [['server', '--replication', '9999']],
  [['server', '--log-level', 'loud']],
  [['server', '--s3-port', '70000']],
  [['server', '--s3-coded-policy', 'raid5']],
  [['server', '--durability', 'perhaps']],
  [['server', '--tls-ca', '/none']],
  [['volume', '--dir', '/v']],
  [['volume', '--dir', '/v', '--secret-file', '/none/secret']],
  [['master', '--dir', '', '--port', '0']],
])('%j is refused in one line', async (args) => {
  const run = await hayloft(args)
  expect(run).toMatchObject({ exitCode: 2, out: '' })
  expect(run.err).toMatch(/^hayloft: CONFIG_INVALID: [^\n]+\n$/)
})

test.each(['sdk', 'http'])(
  'bench via %s writes and reads, and tells rates and percentiles',
  async (via) => {
    const numbers = ['-n', '60', '-c', '4', '--size', '100']
    const run = await hayloft(['bench', ...numbers, '--via', via, '-q'])
    expect(run).toMatchObject({ exitCode: 0, err: '' })
    expect(run.out).toMatch(/^100 B files, 4 at once, via (sdk|http)\nwrite: 60 in .* files\/s, /)
    expect(run.out).toMatch(/\nread: 60 in .*\n {2}mean .* ms {2}p50 .*p90 .*p99 .*max .* ms\n$/)
    const mixed = ['bench', ...numbers, '--mixed', '--via', via, '-q', '--json']
    const document = JSON.parse((await hayloft(mixed)).out)
    expect(document.results).toMatchObject([{ operation: 'mixed', count: 60, failures: 0 }])
  },
)

test('server says that it is ready, serves, and ends in order when told to', async () => {
  const dir = join(temp.path, 'daemon')
  await mkdir(dir)
  const stop = new AbortController()
  let running: Promise<CliRun> | undefined
  const ready = new Promise<string>((resolve) => {
    const onOutput = (out: Buffer): void => {
      if (out.includes('try\n')) resolve(out.toString())
    }
    const flags = ['--port', '--volume-port', '--s3-port', '--rest-port', '--files-port']
    const args = ['server', '--dir', dir, ...flags.flatMap((flag) => [flag, '0'])]
    running = hayloft([...args, '--volume-servers', '2'], { signal: stop.signal, onOutput })
  })
  const banner = await ready
  const url = /master {3}(http:\/\/127\.0\.0\.1:\d+)\n/.exec(banner)?.[1] ?? ''
  expect(banner.match(/ {2}volume {3}http:/g)).toHaveLength(2)
  expect(banner).toMatch(/ {2}s3 {7}http:\/\/127\.0\.0\.1:\d+ {2}\(root key: .*s3-root\.json\)\n/)
  expect(banner).toMatch(/ {2}rest {5}http:\/\/127\.0\.0\.1:\d+\/docs /)
  expect(banner).toMatch(/ {2}files {4}127\.0\.0\.1:\d+\n/)
  const put = await fetch(`${url}/hello`, { method: 'PUT', body: 'hello' })
  expect(put.status).toBe(201)
  stop.abort()
  expect(await running).toMatchObject({ exitCode: 0, err: '' })
  await expect(fetch(url)).rejects.toThrow()
})

test('put with a policy, and repair: what a cluster of one server can do of it', async () => {
  const path = join(temp.path, 'policy.bin')
  await writeFile(path, new Prng(8).bytes(3000))
  const coded = await hayloft(['put', path, '--policy', 'ec:4+2'])
  expect(coded).toMatchObject({ exitCode: 2, out: '' })
  expect(coded.err).toMatch(
    /^hayloft: PLACEMENT_IMPOSSIBLE: 4\+2 needs 6 servers .*; 1 can be used/,
  )
  const wrong = await hayloft(['put', path, '--policy', 'raid5'])
  expect(wrong.err).toMatch(/^hayloft: CONFIG_INVALID: "raid5" is no policy/)
  const small = await hayloft(['put', path, '--policy', 'auto', '--erasure-min', '4KiB'])
  expect(small).toMatchObject({ exitCode: 0, err: '' })
  const large = await hayloft(['put', path, '--policy', 'auto:1+1', '--erasure-min', '1KiB'])
  expect(large.err).toMatch(/^hayloft: PLACEMENT_IMPOSSIBLE: 1\+1 needs 2 servers/)
  const fileId = small.out.trim()
  expect(await hayloft(['repair', fileId])).toEqual({
    exitCode: 0,
    out: `${fileId}  replicated: its copies are kept whole by the master\n`,
    err: '',
  })
  const json = await hayloft(['repair', fileId, '--json'])
  expect(JSON.parse(json.out)).toMatchObject({ fileId, stripeCount: 0, rebuiltCount: 0 })
})
