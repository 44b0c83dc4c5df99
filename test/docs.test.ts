import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import type { ServiceDefinition } from '@grpc/grpc-js'
import type { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { formatFileId, parseFileId, parseFileIdPath } from '../src/base/file-id.ts'
import type { Limit } from '../src/base/limit.ts'
import { LIMITS } from '../src/base/limits.ts'
import { ERROR_CODES } from '../src/base/store-error.ts'
import { formatBytes, parseBytes } from '../src/base/units.ts'
import { makeProgram } from '../src/cli/program.ts'
import {
  CHECKSUM_SIDECAR_AT,
  CHECKSUM_SIDECAR_FLAG,
  CHECKSUM_SIDECAR_VERSION,
} from '../src/format/checksum-sidecar.ts'
import {
  decodeIndexEntry,
  INDEX_ENTRY_BYTES,
  INDEX_ENTRY_WIDE_BYTES,
} from '../src/format/index-entry.ts'
import {
  decodeNeedleHeader,
  NEEDLE_CHECKSUM_BYTES,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  NEEDLE_TIMESTAMP_BYTES,
  TOMBSTONE_BYTES,
} from '../src/format/needle.ts'
import { NEEDLE_FLAG } from '../src/format/needle-attributes.ts'
import { SUPER_BLOCK_AT, SUPER_BLOCK_BYTES } from '../src/format/super-block.ts'
import { decodeVolumeInfo, emptyVolumeInfo, encodeVolumeInfo } from '../src/format/volume-info.ts'
import { type FileServiceParts, fileService } from '../src/gateway/files/file-service.ts'
import { namespaceService } from '../src/master/serve-namespace.ts'
import { RESERVED_SEGMENTS } from '../src/namespace/file-name.ts'
import { CLUSTER_AUTH_HEADER } from '../src/net/cluster-auth.ts'
import { CODE_TRAILER } from '../src/net/error-maps.ts'
import { FILES_AUTH_HEADER } from '../src/net/files-auth.ts'
import { GrpcServer } from '../src/net/grpc-server.ts'
import { ALERT_CODES, JOB_KINDS } from '../src/net/jobs-api.ts'
import { jobsService } from '../src/net/serve-jobs.ts'
import { masterService } from '../src/net/serve-master.ts'
import { shardsService } from '../src/net/serve-shards.ts'
import { usersService } from '../src/net/serve-users.ts'
import { volumeService } from '../src/net/serve-volume.ts'
import { silentLogger } from '../src/runtime/logger.ts'
import { makeCliContext } from './support/cli-run.ts'
import { FakeJobs } from './support/fake-jobs-api.ts'
import { FakeMaster } from './support/fake-master-api.ts'
import { FakeNamespace } from './support/fake-namespace-api.ts'
import { FakeShards } from './support/fake-shards.ts'
import { FakeUsers } from './support/fake-users-api.ts'
import { FakeVolume } from './support/fake-volume-api.ts'
import { golden } from './support/golden.ts'
import { openMasterHttp } from './support/master-http.ts'
import { MemDisk } from './support/mem-disk.ts'
import { Prng } from './support/prng.ts'
import { SimClock } from './support/sim-clock.ts'
import { REPOSITORY, readSourceFiles } from './support/source-files.ts'
import { TestVolumeHttp } from './support/test-volume-http.ts'

const LIMITS_PAGE = 'docs/LIMITS.md'

describe('docs/LIMITS.md', () => {
  const table = limitsTable()
  // Written on purpose only, by a person who then reads the difference.
  const { UPDATE_DOCS: isUpdate } = process.env
  if (isUpdate === '1') {
    const page = readPage(LIMITS_PAGE)
    const start = page.search(/^\| limit /m)
    const before = start < 0 ? page : page.slice(0, start)
    writeFileSync(`${REPOSITORY}${LIMITS_PAGE}`, `${before.trimEnd()}\n\n${table}\n`)
  }

  test('has a row for every limit, with the value, unit and reasons of the code', () => {
    const rows = tableRows(readPage(LIMITS_PAGE), 'limit')
    expect(rows).toEqual(tableRows(table, 'limit'))
    expect(rows.map(([name = '']) => unquoted(name))).toEqual(Object.keys(LIMITS))
    for (const [name = '', value = '', unit] of rows) {
      const limit: Limit = LIMITS[unquoted(name) as keyof typeof LIMITS]
      expect([Number(value.replace(/,| \(.*/g, '')), unit]).toEqual([limit.value, limit.unit])
    }
  })
})

describe('docs/ERRORS.md', () => {
  const rows = tableRows(readPage('docs/ERRORS.md'), 'code')

  test('has every code with its meaning, in the order of the code', () => {
    const documented = rows.map(([code = '', meaning]) => [unquoted(code), meaning])
    expect(documented).toEqual(Object.entries(ERROR_CODES))
  })

  test('says what to do about each', () => {
    for (const [code, , advice] of rows) expect(advice, code).toMatch(/^[A-Z].{15,}\.$/)
  })
})

describe('docs/FORMAT.md', () => {
  const page = readPage('docs/FORMAT.md')

  test('has the offsets of the super block', () => {
    const fields = layout(section(page, '.dat: super block'))
    expect(Object.fromEntries(fields)).toEqual(SUPER_BLOCK_AT)
    expect(fields.get('extra')).toBe(SUPER_BLOCK_BYTES)
  })

  test('has the offsets of a .sum file, its version and flags', () => {
    const text = section(page, '.sum: what was on disk')
    expect(Object.fromEntries(layout(text))).toEqual(CHECKSUM_SIDECAR_AT)
    expect(rowOf(text, 'formatVersion')[3]).toBe(`${CHECKSUM_SIDECAR_VERSION}`)
    const { clean, sealed } = CHECKSUM_SIDECAR_FLAG
    expect(rowOf(text, 'flags')[3]).toContain(`${clean} clean`)
    expect(rowOf(text, 'flags')[3]).toContain(`${sealed} sealed`)
  })

  test('has offsets for the needle header at which its fields are', () => {
    const fields = layout(section(page, '.dat: needles'))
    const bytes = golden('needle-v3-full.dat')
    const header = decodeNeedleHeader(bytes, 0)
    expect([...fields.keys()]).toEqual(['cookie', 'id', 'size'])
    expect(bytes.readUInt32BE(fields.get('cookie'))).toBe(header.cookie)
    expect(bytes.readUInt32BE(fields.get('id'))).toBe(header.id.hi)
    expect(bytes.readUInt32BE((fields.get('id') ?? 0) + 4)).toBe(header.id.lo)
    expect(bytes.readInt32BE(fields.get('size'))).toBe(header.sizeBytes)
    expect((fields.get('size') ?? 0) + 4).toBe(NEEDLE_HEADER_BYTES)
    expect(bytes.readUInt32BE(NEEDLE_HEADER_BYTES)).toBe('hello'.length)
    expect(bytes.toString('utf8', NEEDLE_DATA_AT, NEEDLE_DATA_AT + 5)).toBe('hello')
  })

  test('has the flags of a needle, and the lengths behind its body', () => {
    const text = section(page, '.dat: needles')
    const flags = tableRows(text, 'flag').map(([name = '', value]) => [unquoted(name), value])
    const coded = Object.entries(NEEDLE_FLAG).map(([name, value]) => [name, hexByte(value)])
    expect(flags).toEqual(coded)
    const lengths = new Map(tableRows(text, 'length').map(([bytes, what = '']) => [what, bytes]))
    const bytesOf = (start: string): string | undefined =>
      [...lengths].find(([what]) => what.startsWith(start))?.[1]
    expect(bytesOf('CRC-32C')).toBe(`${NEEDLE_CHECKSUM_BYTES}`)
    expect(bytesOf('`appendAtNs`')).toBe(`${NEEDLE_TIMESTAMP_BYTES}`)
    expect(bytesOf('length of the data')).toBe(`${NEEDLE_DATA_AT - NEEDLE_HEADER_BYTES}`)
    expect(section(page, '.dat: tombstones')).toContain(`it has ${TOMBSTONE_BYTES} bytes`)
  })

  test('shows the golden needle byte for byte', () => {
    const lines = /```\n(637037d6[\s\S]*?)```/.exec(page)?.[1]?.trim().split('\n') ?? []
    const hex = lines.map((line) => line.split('   ')[0]?.replaceAll(' ', '')).join('')
    expect(hex).toBe(golden('needle-v3.dat').toString('hex'))
  })

  test('has offsets for an index row at which its fields are', () => {
    const text = section(page, '.idx: where each needle is')
    const fields = layout(text)
    const bytes = golden('rows.idx').subarray(INDEX_ENTRY_BYTES)
    const row = decodeIndexEntry(bytes, 0)
    expect([...fields.keys()]).toEqual(['id', 'offset', 'size'])
    expect(bytes.readUInt32BE(fields.get('id'))).toBe(row.id.hi)
    expect(bytes.readUInt32BE(fields.get('offset')) * 8).toBe(row.offsetBytes)
    expect(bytes.readInt32BE(fields.get('size'))).toBe(row.sizeBytes)
    expect((fields.get('size') ?? 0) + 4).toBe(INDEX_ENTRY_BYTES)
    expect(text).toContain(`${INDEX_ENTRY_BYTES}-byte rows`)
    expect(text).toContain(`rows of ${INDEX_ENTRY_WIDE_BYTES} bytes`)
  })

  test('names the members of a .vif file in the order they are written', () => {
    const rows = tableRows(section(page, '.vif: facts about a volume'), 'member')
    const written = Object.keys(JSON.parse(encodeVolumeInfo(emptyVolumeInfo())))
    expect(rows.map(([name = '']) => unquoted(name))).toEqual(written)
    const { ecShardConfig } = decodeVolumeInfo(golden('volume-info.vif').toString()) ?? {}
    for (const member of Object.keys(ecShardConfig ?? {})) {
      expect(rows.find(([name]) => name === '`ecShardConfig`')?.[2]).toContain(`\`${member}\``)
    }
  })

  test('shows file ids and paths that are such', () => {
    const text = section(page, 'File ids')
    const fileId = parseFileId('3,01637037d6')
    expect(text).toContain(`\`${formatFileId(fileId)}\``)
    const paths = /```\n([\s\S]*?)```/.exec(text)?.[1]?.trim().split(/\s+/) ?? []
    expect(paths).toHaveLength(5)
    for (const path of paths) expect(parseFileIdPath(path).fileId).toEqual(fileId)
  })
})

describe('docs/CLI.md', () => {
  const page = readPage('docs/CLI.md')
  const context = makeCliContext(new MemDisk(new Prng(1)))
  const program = makeProgram(context, () => undefined)
  const commands = leavesOf(program)

  test('lists every command in one of its first tables', () => {
    const listed = tableRows(page, 'command').map(([cell = '']) =>
      unquoted(cell).replace(/^hayloft /, ''),
    )
    for (const { path } of commands) {
      expect(
        listed.some((line) => `${line} `.startsWith(`${path} `)),
        `hayloft ${path}`,
      ).toBe(true)
    }
    expect(commands.length).toBeGreaterThan(15)
  })

  test.each(commands)('has every option of $path where $path is described', ({ path, flags }) => {
    const [name = ''] = path.split(' ')
    const own = page.split(/^## /m).filter((text) => headingWords(text).includes(name))
    const [shared = ''] = /^Every client takes [\s\S]*?\n\n/m.exec(page) ?? []
    const text = [...own, section(page, 'Settings'), shared].join('\n')
    expect(own.length).toBeGreaterThan(0)
    expect(flags.filter((flag) => !hasFlag(text, flag))).toEqual([])
  })

  test('has every kind of job, in the order in which job run lists them', () => {
    const kinds = tableRows(section(page, 'job'), 'kind').map(([kind = '']) => unquoted(kind))
    expect(kinds).toEqual(JOB_KINDS)
  })

  test('names no option that no command has', () => {
    const known = new Set(commands.flatMap(({ flags }) => flags))
    const named = Array.from(page.matchAll(/(?<![\w-])--[a-z][a-z0-9-]*/g), ([flag]) => flag)
    expect(named.length).toBeGreaterThan(30)
    expect(named.filter((flag) => !known.has(flag) && flag !== '--help')).toEqual([])
  })
})

describe('docs/OPERATIONS.md', () => {
  const rows = tableRows(section(readPage('docs/OPERATIONS.md'), 'Alerts'), 'code')

  test('has every alert, and says what to do about it', () => {
    expect(rows.map(([code = '']) => unquoted(code))).toEqual(ALERT_CODES)
    for (const [code, meaning, advice] of rows) {
      expect(meaning, code).toMatch(/^.{20,}$/)
      expect(advice, code).toMatch(/^.{20,}$/)
    }
  })
})

describe('docs/GRPC.md', () => {
  const page = readPage('docs/GRPC.md')

  test('has every method with its kind and the policy of the code', async () => {
    const services = [
      masterService(new FakeMaster()),
      jobsService(new FakeJobs()),
      volumeService(new FakeVolume()),
      shardsService(new FakeShards()),
      usersService(new FakeUsers()),
      namespaceService(new FakeNamespace()),
      // What it is made of is used by calls only.
      fileService({} as FileServiceParts, { chunkBytes: 1024, cacheBytes: 0 }),
    ]
    const clock = new SimClock()
    const parts = { logger: silentLogger, clock, secret: undefined, tls: undefined }
    await using server = await GrpcServer.open(parts, { host: '127.0.0.1', port: 0, services })
    const documented = new Map<string, string | undefined>()
    for (const { name, definition, methods } of services) {
      const rows = tableRows(section(page, name), 'method')
      const coded = methodKinds(definition).map(([method, kind]) => [method, kind])
      expect(rows.map(([method = '', kind]) => [unquoted(method), kind])).toEqual(coded)
      expect(rows.map(([method = '']) => unquoted(method)).toSorted()).toEqual(
        Object.keys(methods).toSorted(),
      )
      for (const [method = '', , policy = ''] of rows) {
        documented.set(`/${name}/${unquoted(method)}`, unquoted(policy))
      }
    }
    for (const [path = '', policy = ''] of tableRows(section(page, 'From libraries'), 'path')) {
      documented.set(unquoted(path), unquoted(policy))
    }
    expect([...documented].toSorted()).toEqual([...server.policies].toSorted())
  })

  test('names the trailer and the metadata that are used', () => {
    expect(section(page, 'Errors')).toContain(`\`${CODE_TRAILER}\``)
    expect(section(page, 'Who may call what')).toContain(`\`${CLUSTER_AUTH_HEADER}\``)
    expect(section(page, 'Who may call what')).toContain(`\`${FILES_AUTH_HEADER}\``)
    const { methods } = volumeService(new FakeVolume())
    const ofShards = shardsService(new FakeShards()).methods
    for (const [name, method] of Object.entries({ ...methods, ...ofShards })) {
      const isNamed = section(page, 'Bounds').includes(`\`${name}\``)
      expect([name, isNamed]).toEqual([name, method.kind === 'unary' && method.isLong])
    }
    for (const limit of ['grpcCallMs', 'grpcCallsMax']) {
      expect(section(page, 'Bounds')).toContain(`\`${limit}\``)
      expect(Object.keys(LIMITS)).toContain(limit)
    }
  })
})

describe('docs/HTTP.md', () => {
  const page = readPage('docs/HTTP.md')
  const master = section(page, 'Master')

  test('lists every fixed path of the master, with the methods it answers', async () => {
    await using http = await openMasterHttp()
    const paths = new Set<string>()
    for (const [cell = '', methods = ''] of tableRows(master, 'path')) {
      for (const path of unquoted(cell).split(', ').filter(isFixedPath)) {
        paths.add(path)
        const { status, headers } = await http.ask(path, { method: 'OPTIONS' })
        if (methods === 'any') expect([path, status]).not.toEqual([path, 405])
        else expect([path, status, headers.allow]).toEqual([path, 405, methods])
      }
    }
    expect([...paths].toSorted()).toEqual(routesIn('src/master/http-handler.ts'))
  })

  test('names the first segments that no name may begin with', () => {
    const [, sentence = ''] = /below the first segments ([\s\S]*?) are 404/.exec(master) ?? []
    const named = Array.from(sentence.matchAll(/`([a-z]+)`/g), ([, name]) => name)
    expect(named.toSorted()).toEqual(RESERVED_SEGMENTS.toSorted())
  })

  test('lists every page of a volume server; all else is a file id', async () => {
    await using http = await TestVolumeHttp.open()
    const paths = tableRows(section(page, 'Volume server'), 'path')
      .flatMap(([cell = '']) => unquoted(cell).split(', '))
      .filter((path) => isFixedPath(path) && !/\d/.test(path))
    for (const path of paths) {
      const { status } = await http.ask(path)
      expect([path, status < 300 || status === 401]).toEqual([path, true])
    }
    expect(paths.toSorted()).toEqual(routesIn('src/volume/http-handler.ts'))
    expect((await http.ask('/no-such-page')).status).toBe(400)
  })
})

describe('links', () => {
  const pages = [
    ...readSourceFiles('docs', '.md'),
    ...['README.md', 'CHANGELOG.md']
      .filter((path) => existsSync(`${REPOSITORY}${path}`))
      .map((path) => ({ path, text: readPage(path) })),
  ]

  test.each(pages)('of $path lead to files and headings that are there', ({ path, text }) => {
    expect(brokenLinks(path, text)).toEqual([])
  })

  test('that are broken are caught', () => {
    const text = '[a](FORMAT.md) [b](NONE.md) [c](FORMAT.md#file-ids) [d](FORMAT.md#none) [e](#no)'
    expect(brokenLinks('docs/X.md', text)).toEqual(['NONE.md', 'FORMAT.md#none', '#no'])
    expect(brokenLinks('docs/X.md', '[a](https://example.org/x) `[b](NONE.md)`')).toEqual([])
  })
})

function readPage(path: string): string {
  return readFileSync(`${REPOSITORY}${path}`, 'utf8')
}

function limitsTable(): string {
  const rows = Object.entries<Limit>(LIMITS).map(([name, limit]) => {
    const { value, unit, reason, atLimit } = limit
    const digits = value.toLocaleString('en-US', { maximumFractionDigits: 3 })
    const inUnits = formatBytes(value)
    const isWhole = unit === 'bytes' && value >= 1024 && /^\d+ /.test(inUnits)
    const isExact = isWhole && parseBytes(inUnits) === value
    const shown = isExact ? `${digits} (${inUnits})` : digits
    return `| \`${name}\` | ${shown} | ${unit} | ${reason} | ${atLimit} |`
  })
  return [
    '| limit | value | unit | why | at the limit |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n')
}

/** Rows of every table whose first column is headed `first`, cell by cell. */
function tableRows(text: string, first: string): string[][] {
  const rows: string[][] = []
  let isInside = false
  for (const line of text.split('\n')) {
    const cells = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
    if (cells.length === 0) isInside = false
    else if (cells[0] === first) isInside = true
    else if (isInside && !/^-+$/.test(cells[0] ?? '')) rows.push(cells)
  }
  return rows
}

/** The text below a heading that starts like this, up to the next one. */
function section(page: string, heading: string): string {
  const sections = page.split(/^## /m)
  return sections.find((text) => text.startsWith(heading)) ?? expect.fail(`no ${heading}`)
}

/** Offsets by field name, from the tables headed `offset`. */
function layout(text: string): ReadonlyMap<string, number> {
  const named = tableRows(text, 'offset').filter(([, , name]) => name !== '')
  return new Map(named.map(([offset, , name = '']) => [unquoted(name), Number(offset)]))
}

function rowOf(text: string, field: string): string[] {
  const row = tableRows(text, 'offset').find(([, , name]) => name === `\`${field}\``)
  return row ?? expect.fail(`no row for ${field}`)
}

interface CommandLeaf {
  /** Like `names ls`. */
  readonly path: string
  /** Long flags, those of every command included. */
  readonly flags: readonly string[]
}

/** Commands that do something, those that only group others left out. */
function leavesOf(command: Command, above: readonly string[] = []): CommandLeaf[] {
  const flags = command.options.flatMap(({ long }) => (long ? [long] : []))
  const inside = command.commands.flatMap((child) => leavesOf(child, [...above, child.name()]))
  if (inside.length === 0) return [{ path: above.join(' '), flags }]
  return inside.map((leaf) => ({ ...leaf, flags: [...flags, ...leaf.flags] }))
}

/** The words of the first line: what a section says it is about. */
function headingWords(text: string): string[] {
  const [line = ''] = text.split('\n', 1)
  return line.split(/[^a-z]+/)
}

function hasFlag(text: string, flag: string): boolean {
  return new RegExp(`(?<![\\w-])${flag}(?![\\w-])`).test(text)
}

function methodKinds(definition: ServiceDefinition): [method: string, kind: string][] {
  return Object.entries(definition).map(([name, { requestStream, responseStream }]) => {
    if (requestStream) return [name, responseStream ? 'both streams' : 'client stream']
    return [name, responseStream ? 'server stream' : 'unary']
  })
}

/** A path that stands for itself. */
function isFixedPath(path: string): boolean {
  return path.startsWith('/') && !path.includes('{')
}

/** Keys of the route tables in a handler, sorted. */
function routesIn(file: string): string[] {
  const paths = readPage(file).matchAll(/\[\s*'(\/[^']*)',/g)
  return Array.from(paths, ([, path = '']) => path).toSorted()
}

function unquoted(cell: string): string {
  return cell.replaceAll('`', '')
}

function hexByte(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`
}

function brokenLinks(path: string, text: string): string[] {
  const prose = text.replace(/```[\s\S]*?```/g, '').replace(/`[^`\n]*`/g, '')
  const links = Array.from(prose.matchAll(/\]\(([^)\s]+)\)/g), ([, link = '']) => link)
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false
    const [file = '', heading] = link.split('#')
    const target = file === '' ? path : join(dirname(path), file)
    if (!existsSync(`${REPOSITORY}${target}`)) return true
    return heading !== undefined && !headingsOf(readPage(target)).includes(heading)
  })
}

/** Anchors as GitHub makes them. */
function headingsOf(page: string): string[] {
  return Array.from(page.matchAll(/^#+ (.+)$/gm), ([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
