// A gateway of documents that is killed, as by kill -9, at the moment a write reaches a phase.
// Usage: node hybrid-gateway.mjs OPTIONS, as JSON: master (host:grpcPort), secretFile, phase, nth.
// Says `ready URL` once it answers. It ends when its standard input does, too: when the tests die,
// nothing of theirs stays behind.
import { tokensOf } from '../../dist/client/file-tokens.js'
import { HayloftClient } from '../../dist/client/hayloft-client.js'
import { documentRoutes } from '../../dist/gateway/documents/document-routes.js'
import { readDocumentsConfig } from '../../dist/gateway/documents/documents-config.js'
import { DoorBuckets } from '../../dist/gateway/door-buckets.js'
import { GatewaySession } from '../../dist/gateway/gateway-session.js'
import { RemoteNamespace } from '../../dist/gateway/remote-namespace.js'
import { RestGateway } from '../../dist/gateway/rest/rest-gateway.js'
import { readClusterSecret } from '../../dist/net/cluster-secret.js'
import { RemoteJobs } from '../../dist/net/remote-jobs.js'
import { RemoteMaster } from '../../dist/net/remote-master.js'
import { RemoteUsers } from '../../dist/net/remote-users.js'
import { VolumeConnections } from '../../dist/net/volume-connections.js'
import { systemClock } from '../../dist/runtime/clock.js'
import { silentLogger } from '../../dist/runtime/logger.js'
import { NodeDisk } from '../../dist/runtime/node-disk.js'
import { cryptoRandom } from '../../dist/runtime/random.js'

const { master: address, nth, phase, secretFile } = JSON.parse(process.argv[2])
process.stdin.on('end', () => process.exit(3)).resume()

const shared = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
const secret = await readClusterSecret(new NodeDisk(), secretFile)
const config = { addresses: [address], secret, timeoutMs: 10_000 }
const namespace = await RemoteNamespace.open(shared, config)
const users = await RemoteUsers.open(shared, config)
const master = await RemoteMaster.open(shared, config)
const jobs = await RemoteJobs.open(shared, config)
const { connect } = await VolumeConnections.open(shared, { secret })
const tokens = tokensOf(secret, systemClock)
const client = HayloftClient.over({ ...shared, master, connect, tokens })

let reachedCount = 0

async function onPhase(reached) {
  if (reached !== phase) return
  reachedCount++
  if (reachedCount === nth) process.kill(process.pid, 'SIGKILL')
}

const parts = {
  ...shared,
  namespace,
  client,
  master,
  jobs,
  session: new GatewaySession({ ...shared, namespace }),
  buckets: new DoorBuckets({ namespace, users }),
  closing: new AbortController().signal,
  onPhase,
}
const gateway = await RestGateway.open(shared, {
  host: '127.0.0.1',
  port: 0,
  plugins: [documentRoutes(parts, readDocumentsConfig())],
})
process.stdout.write(`ready ${gateway.url}\n`)
