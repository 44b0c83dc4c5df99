import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { startServer } from '../../src/server/start-server.ts'
import { REPOSITORY, readSourceFiles } from '../support/source-files.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const LAST_LINES: Readonly<Record<string, string>> = {
  'examples/batches.mjs': 'deleted 5000 files',
  'examples/large-file.mjs': 'deleted, with all its chunks',
  'examples/named-files.mjs': 'gone: NAME_NOT_FOUND',
  'examples/put-get.mjs': 'deleted: true',
}

const examples = readSourceFiles('examples', '.mjs').map(({ path }) => path)

test('every example is known here', () => {
  expect(examples).toEqual(Object.keys(LAST_LINES))
})

test.each(examples)('%s runs to its end against a running server', async (path) => {
  await using directory = await openTempDirectory()
  const options = { dir: directory.path, port: 0, grpcPort: 0, volumePort: 0, volumeGrpcPort: 0 }
  await using server = await startServer(options)
  const { port } = new URL(server.masterUrl)
  const grpcPort = server.masterGrpcAddress.split(':').at(-1)
  const master = `127.0.0.1:${port}.${grpcPort}`
  const { stderr, stdout } = await promisify(execFile)('node', [`${REPOSITORY}${path}`, master])
  expect(stderr).toBe('')
  expect(stdout.trimEnd().split('\n').at(-1)).toBe(LAST_LINES[path])
})
