// Usage: npm run bench -- engine|http|sdk|repair|erasure|s3|doors [--quick]. Prints figures beside
// their baselines and never fails. TMPDIR says on which disk.
import { execFileSync } from 'node:child_process'
import { benchDoors } from './doors.mjs'
import { benchAppends, benchNeedleMap, benchOpening, benchReads } from './engine.mjs'
import { benchErasure } from './erasure.mjs'
import { benchHttp } from './http.mjs'
import { summarize } from './measure.mjs'
import { benchRepair } from './repair.mjs'
import { benchS3 } from './s3.mjs'
import { benchSdk } from './sdk.mjs'

const [name = 'engine', ...flags] = process.argv.slice(2)
const isQuick = flags.includes('--quick')
const parts = flags.filter((flag) => !flag.startsWith('--'))

const BENCHES = {
  async engine() {
    await benchAppends(isQuick)
    await benchReads(isQuick)
    await benchOpening(isQuick)
    benchNeedleMap(isQuick)
  },
  http: () => benchHttp(isQuick, parts),
  sdk: () => benchSdk(isQuick),
  repair: () => benchRepair(isQuick, parts),
  erasure: () => benchErasure(isQuick, parts),
  s3: () => benchS3(isQuick, parts),
  doors: () => benchDoors(isQuick, parts),
}

const bench = BENCHES[name]
if (bench === undefined) {
  console.error(`no bench is called ${name}; there are: ${Object.keys(BENCHES).join(', ')}`)
  process.exitCode = 2
} else {
  console.log(`node ${process.version}, ${execFileSync('uname', ['-srm'], { encoding: 'utf8' })}`)
  await bench()
  summarize()
}
