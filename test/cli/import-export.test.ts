import { mkdir, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { DirectoryTarget } from '../../src/cli/export-directory.ts'
import { type ExportNamesResult, exportNames } from '../../src/cli/export-names.ts'
import { readTree } from '../../src/cli/file-tree.ts'
import { type ImportResult, importTree } from '../../src/cli/import-tree.ts'
import { Journal } from '../../src/cli/journal.ts'
import type { NamedContent, NamedEntry, NamedStore } from '../../src/cli/named-store.ts'
import type { NeedleMetadata } from '../../src/net/volume-api.ts'
import { describeTree, makeTree } from '../support/file-tree.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const NEVER = new AbortController().signal

interface Stored {
  readonly fileId: string
  readonly data: Buffer
  readonly metadata: NeedleMetadata
}

/** Named files in memory. */
class FakeStore implements NamedStore {
  readonly files = new Map<string, Stored>()
  puts = 0
  reads = 0
  /** Fails the put of this number, counted from 1, with this error. */
  failure: { readonly at: number; readonly error: StoreError } | undefined
  #next = 1

  async putNamed(
    name: string,
    data: Uint8Array | AsyncIterable<Uint8Array>,
    metadata: NeedleMetadata,
  ): Promise<string> {
    this.puts++
    const pieces: Uint8Array[] = []
    if (data instanceof Uint8Array) pieces.push(data)
    else for await (const piece of data) pieces.push(piece)
    if (this.failure?.at === this.puts) throw this.failure.error
    const fileId = `1,${(this.#next++).toString(16).padStart(4, '0')}00000000`
    this.files.set(name, { fileId, data: Buffer.concat(pieces), metadata })
    return fileId
  }

  async *listNames(prefix: string): AsyncGenerator<NamedEntry, void, undefined> {
    for (const [name, { fileId, data }] of [...this.files].sort()) {
      if (name.startsWith(prefix)) yield { name, fileId, sizeBytes: data.length }
    }
  }

  async readFile({ fileId }: NamedEntry): Promise<NamedContent> {
    this.reads++
    const found = [...this.files.values()].find((file) => file.fileId === fileId)
    if (found === undefined) throw new StoreError('NEEDLE_NOT_FOUND', fileId)
    return {
      pairs: found.metadata.pairs ?? {},
      lastModifiedMs: undefined,
      data: (async function* () {
        yield found.data
      })(),
    }
  }
}

let store: FakeStore
let messages: string[]

beforeEach(() => {
  store = new FakeStore()
  messages = []
})

async function importAll(root: string, prefix = 'p', signal = NEVER): Promise<ImportResult> {
  await using journal = await Journal.open(`${root}.journal`, prefix)
  const tree = await readTree(root, signal)
  const options = {
    root,
    prefix,
    concurrency: 8,
    onProgress: () => undefined,
    onFailure: async (message: string) => void messages.push(message),
  }
  return await importTree({ store, journal }, tree, options, signal)
}

async function exportAll(root: string, prefix = 'p/', signal = NEVER): Promise<ExportNamesResult> {
  await using journal = await Journal.open(`${root}.journal`, prefix)
  await using target = await DirectoryTarget.open(root, { mayOverwrite: true })
  const options = {
    root,
    prefix,
    concurrency: 8,
    onProgress: () => undefined,
    onFailure: async (message: string) => void messages.push(message),
  }
  return await exportNames({ store, journal, target }, options, signal)
}

test('a tree of 200 odd files comes back as it was: bytes, names, links, modes, times', async () => {
  await using temp = await openTempDirectory()
  const tree = join(temp.path, 'tree')
  await makeTree(tree, 200, new Prng(1))
  const imported = await importAll(tree)
  expect(imported).toMatchObject({ unchanged: 0, failures: 0, files: store.files.size })
  expect([...store.files.keys()].every((name) => name.startsWith('p/'))).toBe(true)
  const copy = join(temp.path, 'copy')
  expect(await exportAll(copy)).toMatchObject({ files: imported.files, failures: 0 })
  expect(messages).toEqual([])
  expect(await describeTree(copy)).toEqual(await describeTree(tree))
})

describe('an import', () => {
  test('that is run again puts only what changed: size, time, or what the cluster knows', async () => {
    await using temp = await openTempDirectory()
    const tree = join(temp.path, 'tree')
    await mkdir(tree)
    for (const name of 'abcde') await writeFile(join(tree, name), name)
    expect(await importAll(tree)).toMatchObject({ files: 5, unchanged: 0, bytes: 5 })
    expect(await importAll(tree)).toMatchObject({ files: 0, unchanged: 5, bytes: 0 })
    await writeFile(join(tree, 'a'), 'longer')
    await utimes(join(tree, 'b'), 5, 5)
    store.files.delete('p/c')
    await store.putNamed('p/d', Buffer.from('of somebody else'), {})
    expect(await importAll(tree)).toMatchObject({ files: 4, unchanged: 1 })
    expect(store.files.get('p/d')?.data.toString()).toBe('d')
    expect(await importAll(tree)).toMatchObject({ files: 0, unchanged: 5 })
  })

  test('goes on after a fault of one file, and the next run does that one', async () => {
    await using temp = await openTempDirectory()
    const tree = join(temp.path, 'tree')
    await mkdir(tree)
    for (const name of 'abc') await writeFile(join(tree, name), name)
    store.failure = { at: 2, error: new StoreError('NAME_INVALID', 'not this one') }
    expect(await importAll(tree)).toMatchObject({ files: 2, failures: 1 })
    expect(messages).toEqual([expect.stringMatching(/^NAME_INVALID: .*\/[abc]: not this one$/)])
    expect(await importAll(tree)).toMatchObject({ files: 1, unchanged: 2, failures: 0 })
  })

  test('ends at a fault of the cluster, and the next run goes on from there', async () => {
    await using temp = await openTempDirectory()
    const tree = join(temp.path, 'tree')
    await mkdir(tree)
    for (let n = 0; n < 50; n++) await writeFile(join(tree, `f${n}`), String(n))
    store.failure = { at: 20, error: new StoreError('UNAVAILABLE', 'gone') }
    await expect(importAll(tree)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const done = store.files.size
    expect(done).toBeGreaterThanOrEqual(19)
    expect(done).toBeLessThan(30)
    expect(await importAll(tree)).toMatchObject({ files: 50 - done, unchanged: done })
    expect(store.files.size).toBe(50)
  })

  test('keeps links as links and empty directories', async () => {
    await using temp = await openTempDirectory()
    const tree = join(temp.path, 'tree')
    await mkdir(join(tree, 'empty'), { recursive: true })
    await symlink('nowhere', join(tree, 'link'))
    expect(await importAll(tree, '')).toMatchObject({ files: 2 })
    expect(store.files.get('link')?.data.toString()).toBe('nowhere')
    expect(store.files.get('link')?.metadata.pairs).toMatchObject({ kind: 'symlink' })
    expect(store.files.get('empty')?.metadata.pairs).toMatchObject({ kind: 'directory' })
  })
})

describe('an export', () => {
  test('that did not finish goes on: files as it left them are not read again', async () => {
    await using temp = await openTempDirectory()
    for (let n = 0; n < 20; n++) await store.putNamed(`p/f${n}`, Buffer.from(String(n)), {})
    const copy = join(temp.path, 'copy')
    await exportAll(copy)
    expect(store.reads).toBe(20)
    await writeFile(join(copy, 'f1'), 'altered')
    await rm(join(copy, 'f2'))
    await store.putNamed('p/f3', Buffer.from('new'), {})
    expect(await exportAll(copy)).toMatchObject({ files: 3, unchanged: 17 })
    expect(store.reads).toBe(23)
    expect(await readdir(copy)).toHaveLength(20)
  })

  test.each(['p/../evil', 'p//tmp/evil', 'p/a/../../evil', 'p/'])(
    'of the name %j tells it and writes nothing outside the target',
    async (name) => {
      await using temp = await openTempDirectory()
      await store.putNamed(name, Buffer.from('evil'), {})
      await store.putNamed('p/good', Buffer.from('good'), {})
      await mkdir(join(temp.path, 'deep'))
      const copy = join(temp.path, 'deep', 'copy')
      expect(await exportAll(copy)).toMatchObject({ files: 1, failures: 1 })
      expect(messages).toEqual([expect.stringMatching(/^NAME_INVALID: /)])
      expect(await readdir(copy)).toEqual(['good'])
      expect((await readdir(join(temp.path, 'deep'))).sort()).toEqual(['copy', 'copy.journal'])
    },
  )

  test('through a link another name makes is refused', async () => {
    await using temp = await openTempDirectory()
    const outside = join(temp.path, 'outside')
    await mkdir(outside)
    await store.putNamed('p/a', Buffer.from(outside), { pairs: { kind: 'symlink' } })
    await store.putNamed('p/a/evil', Buffer.from('evil'), {})
    await exportAll(join(temp.path, 'copy'))
    expect(await readdir(outside)).toEqual([])
  })

  test('of a file that vanished meanwhile tells it and goes on', async () => {
    await using temp = await openTempDirectory()
    await store.putNamed('p/a', Buffer.from('a'), {})
    await store.putNamed('p/b', Buffer.from('b'), {})
    const read = store.readFile.bind(store)
    store.readFile = async (entry) => {
      if (entry.fileId === store.files.get('p/a')?.fileId)
        throw new StoreError('NEEDLE_NOT_FOUND', 'gone')
      return await read(entry)
    }
    expect(await exportAll(join(temp.path, 'copy'))).toMatchObject({ files: 1, failures: 1 })
    expect(messages).toEqual(['NEEDLE_NOT_FOUND: "p/a": gone'])
  })
})
