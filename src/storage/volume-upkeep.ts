import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { Checkpointer, type CheckpointHost } from './checkpointer.ts'
import { CodingSource } from './coding-source.ts'
import type { Generation } from './generation.ts'
import { PackedNeedleMap } from './packed-needle-map.ts'
import type { ScrubHost } from './scrub.ts'
import { unpackEntries } from './unpacked-map.ts'
import {
  checkVacuumSpace,
  type VacuumHost,
  type VacuumOptions,
  type VacuumResult,
  vacuumGeneration,
} from './vacuum.ts'
import type { VolumeCondition } from './volume-condition.ts'
import { busy, wideOffsets } from './volume-errors.ts'
import type { VolumeInfoFile } from './volume-info-file.ts'
import type { VolumeOptions, VolumeParts } from './volume-options.ts'
import type { VolumePaths } from './volume-paths.ts'
import { VolumeSnapshot } from './volume-snapshot.ts'
import type { VolumeWriter } from './volume-writer.ts'

interface UpkeepParts extends VolumeParts {
  readonly paths: VolumePaths
  readonly info: VolumeInfoFile
  readonly condition: VolumeCondition
  readonly writer: VolumeWriter
  /** What the volume reads from and writes to; a vacuum puts another one here. */
  readonly current: { generation: Generation }
}

/**
 * What keeps the files of an open volume in order beside the writes: checkpoints, seal, vacuum,
 * `.vif`. Invariant: only one of them at a time changes which files there are.
 */
export class VolumeUpkeep {
  readonly #parts: UpkeepParts
  readonly #options: VolumeOptions
  readonly #checkpointer: Checkpointer
  readonly #stop = new AbortController()
  #vacuuming: Promise<VacuumResult> | undefined
  #syncTimer: Disposable | undefined

  constructor(parts: UpkeepParts, options: VolumeOptions) {
    this.#parts = parts
    this.#options = options
    this.#checkpointer = new Checkpointer({ ...parts, host: this.host })
  }

  /** Aborts when the volume is to be closed. */
  get ending(): AbortSignal {
    return this.#stop.signal
  }

  get isVacuuming(): boolean {
    return this.#vacuuming !== undefined
  }

  /** The volume as checkpoints, vacuum and scrub see it. */
  get host(): VacuumHost & CheckpointHost & ScrubHost {
    const { writer, condition, current, info } = this.#parts
    return {
      ...this.#parts,
      isSealed: () => condition.isSealed,
      replicaPlacement: () => info.placement ?? current.generation.superBlock.replicaPlacement,
      generation: () => current.generation,
      between: (step) => writer.between(step),
      hold: (step) => this.#checkpointer.hold(step),
      install: (next) => this.#install(next),
      onSwitchFailed: (error) => condition.onSwitchFailed(error),
      syncDat: (generation) => this.#syncDat(generation),
    }
  }

  /** What opening has found need not be found again. */
  async settle(opened: { readonly isSound: boolean; readonly isNew: boolean }): Promise<void> {
    const { condition, info } = this.#parts
    if (condition.isSealed) await this.#pack()
    if (!opened.isSound) return
    // A `.vif` that was lost or altered since says so again.
    if (condition.isSealed) await info.seal()
    if (opened.isNew) await this.#checkpointOrWarn(false)
  }

  /** As `Volume.seal`. */
  async seal(): Promise<void> {
    const { writer, condition, info, paths } = this.#parts
    if (this.isVacuuming) throw busy(paths)
    condition.checkWritable()
    await writer.between(async () => {
      await info.seal()
      condition.isSealed = true
    })
    await this.#checkpointer.run({ isClean: false })
    await writer.between(() => this.#pack())
  }

  /** As `Volume.setReplication`. */
  async setReplication(placement: ReplicaPlacement): Promise<void> {
    const { writer, info, current } = this.#parts
    await writer.between(() => info.setReplication(placement, current.generation.version))
  }

  /** As `Volume.vacuum`. */
  async vacuum(options: VacuumOptions, signal: AbortSignal): Promise<VacuumResult> {
    if (this.isVacuuming) throw busy(this.#parts.paths)
    const refusal = this.#parts.condition.refuseVacuum()
    if (refusal !== undefined) throw refusal
    this.#vacuuming = this.#vacuum(options, AbortSignal.any([signal, this.ending]))
    try {
      return await this.#vacuuming
    } finally {
      this.#vacuuming = undefined
    }
  }

  /** As `Volume.snapshot`. */
  snapshot(): Promise<VolumeSnapshot> {
    const { writer, condition, current, info } = this.#parts
    return writer.between(() =>
      VolumeSnapshot.take(current.generation, info.info, condition.isSealed, this.ending),
    )
  }

  /** As `Volume.codingSource`. */
  async codingSource(): Promise<CodingSource> {
    const { writer, condition, current, info, paths } = this.#parts
    const isSealed = condition.isSealed
    const source = await writer.between(async () => {
      const { generation } = current
      if (generation.log.isReadOnly) throw wideOffsets(paths)
      const snapshot = await VolumeSnapshot.take(generation, info.info, isSealed, this.ending)
      return await CodingSource.take(generation, snapshot)
    })
    await source.sortRows()
    return source
  }

  checkpoint(): Promise<void> {
    this.#parts.condition.checkWritable()
    return this.#checkpointer.run({ isClean: false })
  }

  onAppended(bytes: number): void {
    const { space, clock, condition, current } = this.#parts
    this.#checkpointer.onAppended(bytes)
    space.onAppended(bytes)
    const { durability } = this.#options
    if (durability.mode !== 'interval' || this.#syncTimer !== undefined) return
    this.#syncTimer = clock.after(durability.intervalMs, () => {
      this.#syncTimer = undefined
      const { dat } = current.generation
      dat.datasync().catch((error: unknown) => condition.onSyncFailed(error))
    })
  }

  /** Back to the form that takes needles: those that heal. Only while nothing else is written. */
  async unpack(): Promise<void> {
    const { generation } = this.#parts.current
    const { map, version } = generation
    if (!(map instanceof PackedNeedleMap)) return
    generation.map = await unpackEntries(map, { version, yieldTurn })
  }

  /** Answers what was submitted, and leaves the files complete. */
  async close(): Promise<void> {
    const { writer, condition } = this.#parts
    this.#stop.abort()
    await this.#vacuuming?.catch(() => 'whoever asked for it is told')
    await writer.drain()
    this.#checkpointer[Symbol.dispose]()
    this.#syncTimer?.[Symbol.dispose]()
    if (condition.refuseWrite() === undefined) await this.#checkpointOrWarn(true)
    await condition.settled()
  }

  /** Without the checkpoint the next start has more to scan; nothing else is lost. */
  async #checkpointOrWarn(isClean: boolean): Promise<void> {
    try {
      await this.#checkpointer.run({ isClean })
    } catch (error) {
      const fields = { volume: this.#parts.paths.base, error: String(error) }
      this.#parts.logger.warn('volume.checkpoint_failed', fields)
    }
  }

  async #vacuum(options: VacuumOptions, signal: AbortSignal): Promise<VacuumResult> {
    const { disk, paths, condition, writer, info, current } = this.#parts
    await checkVacuumSpace(disk, paths, current.generation)
    // The switch removes the mark; it must not appear after that.
    await condition.settled()
    await writer.between(() => info.renew())
    const result = await vacuumGeneration(this.host, options, signal)
    if (condition.isSealed) await writer.between(() => this.#pack())
    return result
  }

  /** Only while nothing is written: a delete meanwhile would be lost. */
  async #pack(): Promise<void> {
    const { generation } = this.#parts.current
    const { map, version } = generation
    generation.map = await PackedNeedleMap.build(map, { version, yieldTurn })
  }

  #install(next: Generation): void {
    const { current, condition } = this.#parts
    current.generation.retire()
    current.generation = next
    condition.onRenewed()
  }

  async #syncDat(generation: Generation): Promise<void> {
    const { condition } = this.#parts
    if (this.#options.durability.mode === 'fsync') return
    // After a failed sync a second one may succeed, and means nothing; also if it came meanwhile.
    if (condition.failure !== undefined) throw condition.failure
    try {
      await generation.dat.datasync()
    } catch (error) {
      throw condition.onSyncFailed(error)
    }
    if (condition.failure !== undefined) throw condition.failure
  }
}
