import type { NeedleId } from '../base/ids.ts'
import { AscendingRun, type SharedRun } from './ascending-run.ts'
import type { HashSharedState } from './growing-table.ts'
import { HashNeedleMapView } from './hash-needle-map-view.ts'
import type { NeedleLocation } from './needle-map.ts'
import { findPacked, type PackedEntries, packedOffset, packedSize } from './packed-entries.ts'

/** A needle map in a form that can be posted to another thread, which then sees what changes. */
export type SharedNeedleMap =
  | { readonly kind: 'hash'; readonly hash: HashSharedState }
  | { readonly kind: 'layered'; readonly run: SharedRun; readonly recent: HashSharedState }
  | {
      readonly kind: 'packed'
      readonly packed: PackedEntries
      /** One bit for each entry. */
      readonly deleted: Uint32Array
      readonly others: HashSharedState | undefined
    }

/**
 * A needle map that another thread owns. As `NeedleMap.lookup`; undefined when its owner must hand
 * out its state again. What was found may have been overwritten in that very moment, so that offset
 * and size do not belong together: the record at the offset tells.
 */
export interface NeedleMapView {
  lookup(id: NeedleId, into: NeedleLocation): boolean | undefined
}

export function viewNeedleMap(shared: SharedNeedleMap): NeedleMapView {
  if (shared.kind === 'hash') return new HashNeedleMapView(shared.hash)
  if (shared.kind === 'layered') return new LayeredView(shared.run, shared.recent)
  const { packed, deleted, others } = shared
  return new PackedView(packed, deleted, others)
}

class LayeredView implements NeedleMapView {
  readonly #run: AscendingRun
  readonly #recent: HashNeedleMapView

  constructor(run: SharedRun, recent: HashSharedState) {
    this.#run = AscendingRun.over(run)
    this.#recent = new HashNeedleMapView(recent)
  }

  lookup(id: NeedleId, into: NeedleLocation): boolean | undefined {
    const index = this.#run.find(id.hi, id.lo)
    if (index < 0) return this.#recent.lookup(id, into)
    this.#run.readEntry(index, into)
    return true
  }
}

class PackedView implements NeedleMapView {
  readonly #packed: PackedEntries
  readonly #deleted: Uint32Array
  readonly #others: HashNeedleMapView | undefined

  constructor(packed: PackedEntries, deleted: Uint32Array, others: HashSharedState | undefined) {
    this.#packed = packed
    this.#deleted = deleted
    this.#others = others === undefined ? undefined : new HashNeedleMapView(others)
  }

  lookup(id: NeedleId, into: NeedleLocation): boolean | undefined {
    const index = findPacked(this.#packed, id.hi, id.lo)
    // Tombstones of needles that were never here may come later: not found is right for them too.
    if (index < 0) return this.#others === undefined ? false : this.#others.lookup(id, into)
    into.offsetBytes = packedOffset(this.#packed, index)
    into.sizeBytes = packedSize(this.#packed, index)
    into.isDeleted = (((this.#deleted[index >>> 5] as number) >>> (index & 31)) & 1) === 1
    return true
  }
}
