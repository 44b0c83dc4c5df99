import { expect, test } from 'vitest'
import { runCli } from '../support/cli-run.ts'

const TOGETHER = '--s3-tls-cert and --s3-tls-key belong together'
const RANGES = 'it must be an address or a block like 10.0.0.0/8'

test.each([
  [['--s3-tls-cert', '/none'], TOGETHER],
  [['--s3-tls-key', '/none'], TOGETHER],
  [
    ['--s3-trusted-proxies', 'proxy.example.org'],
    `--s3-trusted-proxies "proxy.example.org": ${RANGES}`,
  ],
  [
    ['--s3-trusted-proxies', '10.0.0.1,10.0.0.0/33'],
    `--s3-trusted-proxies "10.0.0.0/33": ${RANGES}`,
  ],
  [['--s3-trusted-proxies', '10.0.0.1,'], `--s3-trusted-proxies "": ${RANGES}`],
])('server %j is refused before anything is opened', async (flags, why) => {
  const run = await runCli(['server', '--dir', '/proc/none', ...flags])
  expect(run).toEqual({ exitCode: 2, out: '', err: `hayloft: CONFIG_INVALID: ${why}\n` })
})
