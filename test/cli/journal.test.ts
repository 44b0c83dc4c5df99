import { appendFile, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Journal, type JournalEntry } from '../../src/cli/journal.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

function entry(key: string, sizeBytes = 1): JournalEntry {
  return { key, fileId: '1,0100000000', sizeBytes, mtimeMs: 7 }
}

test('what was appended is there when it is opened again; the later of two entries counts', async () => {
  await using temp = await openTempDirectory()
  const path = join(temp.path, 'journal')
  {
    await using journal = await Journal.open(path, 'a')
    expect(journal.entries.size).toBe(0)
    await journal.append(entry('x', 1))
    await journal.append(entry('y\n"', 2))
    await journal.append(entry('x', 3))
  }
  await using again = await Journal.open(path, 'a')
  expect([...again.entries]).toEqual([
    ['x', entry('x', 3)],
    ['y\n"', entry('y\n"', 2)],
  ])
})

test('half a line at the end is ignored, and does not swallow the next', async () => {
  await using temp = await openTempDirectory()
  const path = join(temp.path, 'journal')
  {
    await using journal = await Journal.open(path, 'a')
    await journal.append(entry('x'))
  }
  await appendFile(path, '{"key":"y","fil')
  {
    await using journal = await Journal.open(path, 'a')
    expect([...journal.entries.keys()]).toEqual(['x'])
    await journal.append(entry('z'))
  }
  await using again = await Journal.open(path, 'a')
  expect([...again.entries.keys()]).toEqual(['x', 'z'])
})

test('a file that is no journal, or about something else, is refused and left alone', async () => {
  await using temp = await openTempDirectory()
  const foreign = join(temp.path, 'notes.txt')
  await writeFile(foreign, 'my notes\n')
  const refused = { code: 'CONFIG_INVALID' }
  await expect(Journal.open(foreign, 'a')).rejects.toMatchObject(refused)
  expect(await readFile(foreign, 'utf8')).toBe('my notes\n')
  const path = join(temp.path, 'journal')
  await (await Journal.open(path, 'a'))[Symbol.asyncDispose]()
  const about = /journal is about "a", not about "b"$/
  await expect(Journal.open(path, 'b')).rejects.toThrow(about)
})

test('remove leaves nothing behind', async () => {
  await using temp = await openTempDirectory()
  const path = join(temp.path, 'journal')
  await using journal = await Journal.open(path, 'a')
  await journal.remove()
  await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
})
