import { expect, test } from 'vitest'
import { runCli } from '../support/cli-run.ts'

test.each([
  ['--lifecycle', 'perhaps', '--lifecycle "perhaps": it must be one of on, off'],
  ['--s3-port', 'off', '--s3-port off leaves a gateway nothing to do'],
])('gateway %s %s is refused before anything is opened', async (flag, value, why) => {
  const args = ['gateway', '--secret-file', '/none', flag, value]
  const err = `hayloft: CONFIG_INVALID: ${why}\n`
  expect(await runCli(args)).toEqual({ exitCode: 2, out: '', err })
})
