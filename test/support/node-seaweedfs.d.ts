/** What the tests use of it; it has no types of its own. */
declare module 'node-seaweedfs' {
  interface Assigned {
    readonly fid: string
    readonly url: string
    readonly publicUrl: string
    readonly count: number
  }

  export default class WeedFSClient {
    constructor(options: { server: string; port: number; usePublicUrl?: boolean })
    write(file: string | Buffer | (string | Buffer)[], options?: object): Promise<Assigned>
    read(fid: string): Promise<Buffer>
    find(fid: string): Promise<{ readonly locations: readonly { readonly url: string }[] }>
    remove(fid: string): Promise<unknown>
    masterStatus(): Promise<{ readonly IsLeader: boolean; readonly Leader: string }>
    systemStatus(): Promise<{ readonly Topology: object; readonly Version: string }>
    volumeStatus(host: string): Promise<{ readonly Volumes: readonly object[] }>
  }
}
