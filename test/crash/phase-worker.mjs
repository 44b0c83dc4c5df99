// A worker that is killed, as by kill -9, at the moment its job reaches a phase.
// Usage: node phase-worker.mjs '{"master":"host:grpcPort","secretFile":"…","kind":"…","phase":"…"}'
import { parseArgs } from 'node:util'
import { Worker } from '../../dist/jobs/worker.js'
import { readClusterSecret } from '../../dist/net/cluster-secret.js'
import { RemoteJobs } from '../../dist/net/remote-jobs.js'
import { VolumeConnections } from '../../dist/net/volume-connections.js'
import { systemClock } from '../../dist/runtime/clock.js'
import { silentLogger } from '../../dist/runtime/logger.js'
import { NodeDisk } from '../../dist/runtime/node-disk.js'
import { cryptoRandom } from '../../dist/runtime/random.js'

const { positionals } = parseArgs({ allowPositionals: true })
const { master, secretFile, kind, phase } = JSON.parse(positionals[0])
const secret = await readClusterSecret(new NodeDisk(), secretFile)
const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
const jobs = await RemoteJobs.open(parts, { addresses: [master], secret, timeoutMs: 10_000 })
const { connect } = await VolumeConnections.open(parts, { secret })

// Those two only queue moves, which somebody has to do.
const kinds = kind === 'rebalance' || kind === 'evacuate' ? [kind, 'move'] : [kind]

function onPhase(ofKind, reached) {
  if (ofKind === kind && reached === phase) process.kill(process.pid, 'SIGKILL')
}

Worker.start(
  { ...parts, jobs, connect, onPhase },
  { name: `killed-at-${phase}`, queue: '', kinds, width: 1 },
)
