import { Command } from 'commander'
import { expect, test } from 'vitest'
import { addS3Options, type S3Flags } from '../../src/cli/s3-options.ts'
import { prepareSettings } from '../../src/cli/settings.ts'
import { readWebhooks } from '../../src/cli/webhook-options.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'

const A = 'a=http://a.example/x?y=1,2'
const B = 'b_2=https://user:hunter2@b.example:8443'

interface Given {
  readonly file?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Names and URLs that a command line, an environment and a file come to. */
async function parse(args: readonly string[], { env = {}, file = '' }: Given = {}) {
  const disk = new MemDisk(new Prng(1))
  disk.put('/c.yaml', Buffer.from(file))
  const found: S3Flags[] = []
  const program = new Command('hayloft').exitOverride()
  addS3Options(program.command('server')).action((flags: S3Flags) => {
    found.push(flags)
  })
  prepareSettings(program, { disk, env })
  await program.parseAsync(['server', ...args, '--config', '/c.yaml'], { from: 'user' })
  return readWebhooks(found[0]?.s3Webhook).map(({ name, url }) => `${name}=${url}`)
}

test('webhooks are none, one, or one for each flag', async () => {
  expect(await parse([])).toEqual([])
  expect(await parse(['--s3-webhook', A])).toEqual([A])
  expect(await parse(['--s3-webhook', A, '--s3-webhook', B])).toEqual([A, B])
})

test('the environment has them with commas between, a file as a list; flags go before', async () => {
  const env = { HAYLOFT_S3_WEBHOOK: `${A}, ${B}` }
  const file = `server:\n  s3-webhook:\n    - ${A}\n    - ${B}\n`
  expect(await parse([], { env })).toEqual([A, B])
  expect(await parse([], { file })).toEqual([A, B])
  expect(await parse([], { file: `server:\n  s3-webhook: ${A}\n` })).toEqual([A])
  expect(await parse(['--s3-webhook', 'c=http://c'], { env, file })).toEqual(['c=http://c'])
})

test.each([
  ['http://hunter2.example', 'NAME=URL'],
  ['=http://hunter2.example', 'NAME=URL'],
  ['a b=http://hunter2.example', 'NAME=URL'],
  ['a=hunter2.example', 'a: its URL must be one of http or https'],
  ['a=ftp://hunter2.example', 'a: its URL must be one of http or https'],
  ['a=', 'a: its URL must be one of http or https'],
])('%s is refused, and what may be a secret is not said', (text, why) => {
  const read = () => readWebhooks([text])
  expect(read).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  expect(read).toThrow(why)
  expect(read).not.toThrow('hunter2')
})

test('two of one name are refused', () => {
  const read = () => readWebhooks([A, 'a=http://other.example'])
  expect(read).toThrow('each must have a name of its own')
})
