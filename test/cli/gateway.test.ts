import { expect, test } from 'vitest'
import { runCli } from '../support/cli-run.ts'

const ALL_OFF = ['--s3-port', 'off', '--rest-port', 'off', '--files-port', 'off']

test.each([
  [['--lifecycle', 'perhaps'], '--lifecycle "perhaps": it must be one of on, off'],
  [ALL_OFF, '--s3-port, --rest-port and --files-port off leave a gateway nothing to do'],
  [
    ['--objects-spread', 'far'],
    '--objects-spread "far": it must be one of auto, servers, racks, data-centers',
  ],
  [['--gateway-writes', 'some'], '--gateway-writes "some": it must be one of all, best-effort'],
  [
    ['--documents-max-size', '1GiB'],
    '--documents-max-size "1GiB": it must be from 1 KiB to 256 MiB',
  ],
  [['--files-chunk-size', '1'], '--files-chunk-size "1": it must be from 1 KiB to 64 MiB'],
])('gateway %s is refused before anything is opened', async (flags, why) => {
  const args = ['gateway', '--secret-file', '/none', ...flags]
  const err = `hayloft: CONFIG_INVALID: ${why}\n`
  expect(await runCli(args)).toEqual({ exitCode: 2, out: '', err })
})
