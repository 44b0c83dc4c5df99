import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Alert, ClusterHealth } from '../../src/net/jobs-api.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { Ledger, MixedLoad } from '../support/mixed-load.ts'
import { skipLoudly } from '../support/mounts.ts'
import { NetNamespaces } from '../support/net-namespaces.ts'
import { copyRealTree } from '../support/real-tree.ts'
import { RepairCluster, readTree, storeFiles } from '../support/repair-cluster.ts'
import { freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const HOSTS = 4
const COPIES = 3
const FILES = 1000
/** `npm run repair:all` waits until the alert about the link has faded, too. */
const IS_ALL = process.env['HAYLOFT_REPAIR_LANE'] === 'all'

const unsupported = NetNamespaces.supported()

test.skipIf(skipLoudly('a one-way network cut between two servers', unsupported))(
  'a one-way cut between two servers: reads and writes go on, copies become equal',
  async () => {
    await using owned = new DisposeStack()
    const directory = owned.use(await openTempDirectory())
    const hosts = owned.use(NetNamespaces.create(HOSTS))
    const [port = 0] = await freePorts(1)
    const masterAddress = `${hosts.ownAddress}:${port}`
    const dir = join(directory.path, 'master')
    const repair = ['--repair-delay', '5s', '--check', '500ms']
    const layout = ['--replication', '002', '--volume-size', '16MiB']
    const where = ['--ip', hosts.ownAddress, '--port', String(port), '--dir', dir]
    owned.use(
      await ServerProcess.start({
        args: ['master', ...where, ...layout, ...repair],
        readyUrl: `http://${masterAddress}/healthz`,
      }),
    )
    const secretFile = join(dir, 'cluster.secret')
    for (let host = 0; host < HOSTS; host++) {
      const address = hosts.address(host)
      const place = ['--ip', address, '--port', '8080', '--dir', `${directory.path}/v${host}`]
      const cluster = ['--master', masterAddress, '--secret-file', secretFile]
      owned.use(
        await ServerProcess.start({
          args: ['volume', ...place, ...cluster, '--volume-size', '16MiB'],
          readyUrl: `http://${address}:8080/readyz`,
          wrapper: hosts.wrapper(host),
        }),
      )
    }
    const cluster = owned.use(await RepairCluster.connect({ masterAddress, secretFile }))
    const ledger = new Ledger()
    const tree = join(directory.path, 'tree')
    await copyRealTree(tree, FILES)
    await storeFiles(cluster.client, await readTree(tree), ledger)
    await cluster.waitHealth('green', (now) => now.isFullyRedundant, 60_000)

    const load = new MixedLoad(cluster.client, ledger, { seed: 9 })
    await sleep(1000)
    load.resetGap()
    hosts.cut(0, 1)
    await sleep(12_000)
    expect(load.longestWriteGapMs).toBeLessThan(10_000)
    await load.stop()
    console.log(`cut: ${load.summary}`)
    expect(load.readFailures).toEqual([])
    // The third copy reaches both: nothing has to wait for the end of the cut.
    const evenMs = await cluster.waitHealth(
      'equal while cut',
      (now) => now.isFullyRedundant && now.dirtyNeedles === 0,
      120_000,
    )
    expect(await cluster.unlikeVolumes(COPIES)).toEqual([])
    const isLink = ({ code }: Alert): boolean => code === 'LINK_BROKEN'
    expect((await cluster.health()).alerts.filter(isLink)).not.toEqual([])
    hosts.mend(0)
    // A link counts as broken for a minute after somebody told of it: nothing else may be wrong.
    const isCalm = ({ isFullyRedundant, color, alerts }: ClusterHealth): boolean =>
      isFullyRedundant && (color === 'green' || (!IS_ALL && alerts.every(isLink)))
    await cluster.waitHealth('green but for the link', isCalm, 120_000)
    console.log(`equal ${evenMs} ms after the load ended, while still cut`)
    expect(await cluster.wrongCopies(ledger)).toEqual([])
    expect(await cluster.resurrected(ledger)).toEqual([])
    expect(await cluster.unlikeVolumes(COPIES)).toEqual([])
  },
  600_000,
)
