import { GrpcServer } from '../../src/net/grpc-server.ts'
import type { GrpcService } from '../../src/net/grpc-service.ts'
import type { MasterChannelsConfig, MasterChannelsParts } from '../../src/net/master-channels.ts'
import { masterService } from '../../src/net/serve-master.ts'
import { type Clock, systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { FakeMaster } from './fake-master-api.ts'
import { settle } from './test-volume.ts'

const SECRET = Buffer.alloc(32, 1)

/** Pauses between tries cost nothing here. */
const HASTY: Clock = { ...systemClock, sleep: () => settle(2) }

/** One of the interfaces of masters: a fake of it, and how it is served and reached. */
interface MasterInterface<Api, Remote> {
  make(): Api
  serve(api: NoInfer<Api>): GrpcService
  connect(parts: MasterChannelsParts, config: MasterChannelsConfig): Promise<Remote>
}

/** Fakes behind a server each, and what reaches them over gRPC as if they were one. */
export async function openServedMasters<
  Api extends { isLeader: boolean },
  Remote extends AsyncDisposable,
>(
  { connect, make, serve }: MasterInterface<Api, Remote>,
  count: number,
  { isStranger = false }: { readonly isStranger?: boolean } = {},
) {
  const served: { readonly api: Api; readonly master: FakeMaster; readonly server: GrpcServer }[] =
    []
  for (let index = 0; index < count; index++) {
    const [api, master] = [make(), new FakeMaster()]
    const parts = { logger: silentLogger, clock: systemClock, secret: SECRET }
    const services = [masterService(master), serve(api)]
    const server = await GrpcServer.open(parts, { host: '127.0.0.1', port: 0, services })
    served.push({ api, master, server })
  }
  const remote = await connect(
    { logger: silentLogger, clock: HASTY, random: cryptoRandom },
    {
      addresses: served.map(({ server }) => `127.0.0.1:${server.address.port}`),
      secret: isStranger ? undefined : SECRET,
      timeoutMs: 5000,
    },
  )
  return {
    served,
    /** The first of them. */
    api: served[0]?.api ?? make(),
    remote,
    lead(leader: number) {
      for (const [index, { api, master }] of served.entries()) {
        api.isLeader = index === leader
        master.isLeader = index === leader
      }
    },
    async [Symbol.asyncDispose]() {
      await remote[Symbol.asyncDispose]()
      for (const { server } of served) await server.close(0)
    },
  }
}
