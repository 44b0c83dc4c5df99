import { StoreError } from '../base/store-error.ts'
import type { VolumeApi } from '../net/volume-api.ts'

/**
 * A volume server of this process, as the master calls it. Calls over the net are drained by the
 * listener they came through; direct ones by this: `close` refuses new ones and waits for those
 * under way, so that no volume is made in a directory that has been let go of.
 */
export class DrainingVolume {
  readonly api: VolumeApi
  readonly #underWay = new Set<Promise<unknown>>()
  #isClosed = false

  constructor(api: VolumeApi) {
    const track = <Result>(call: () => Promise<Result>): Promise<Result> => this.#track(call)
    this.api = {
      // Journals and shards are closed with the volumes, and wait for what is under way.
      shards: api.shards,
      put: (request, signal) => track(() => api.put(request, signal)),
      putStream: (request, signal) => track(() => api.putStream(request, signal)),
      delete: (request, signal) => track(() => api.delete(request, signal)),
      batchDelete: (requests, signal) => track(() => api.batchDelete(requests, signal)),
      read: (request, signal) => track(() => api.read(request, signal)),
      allocateVolume: (command, signal) => track(() => api.allocateVolume(command, signal)),
      sealVolume: (command, signal) => track(() => api.sealVolume(command, signal)),
      deleteVolume: (command, signal) => track(() => api.deleteVolume(command, signal)),
      volumeStatus: (volumeId, signal) => track(() => api.volumeStatus(volumeId, signal)),
      serverStatus: (signal) => track(() => api.serverStatus(signal)),
      vacuumCheck: (volumeId, signal) => track(() => api.vacuumCheck(volumeId, signal)),
      freezeVolume: (command, signal) => track(() => api.freezeVolume(command, signal)),
      digestVolume: (volumeId, signal) => track(() => api.digestVolume(volumeId, signal)),
      catchUpVolume: (command, signal) => track(() => api.catchUpVolume(command, signal)),
      statNeedles: (volumeId, ids, signal) => track(() => api.statNeedles(volumeId, ids, signal)),
      healNeedles: (command, signal) => track(() => api.healNeedles(command, signal)),
      deleteNeedles: (command, signal) => track(() => api.deleteNeedles(command, signal)),
      setVolumeReplication: (command, signal) =>
        track(() => api.setVolumeReplication(command, signal)),
      // Streams end by themselves when the volumes under them are closed.
      copyVolume: (command, signal) => api.copyVolume(command, signal),
      readVolumeFiles: (request, signal) => api.readVolumeFiles(request, signal),
      tailVolume: (request, signal) => api.tailVolume(request, signal),
      vacuumVolume: (command, signal) => api.vacuumVolume(command, signal),
      listNeedles: (volumeId, signal) => api.listNeedles(volumeId, signal),
      scrubVolume: (command, signal) => api.scrubVolume(command, signal),
    }
  }

  /** Twice is harmless. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
  }

  async #track<Result>(call: () => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw new StoreError('UNAVAILABLE', 'this volume server is shutting down')
    const running = call()
    this.#underWay.add(running)
    try {
      return await running
    } finally {
      this.#underWay.delete(running)
    }
  }
}
