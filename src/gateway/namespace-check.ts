import { formatFileId } from '../base/file-id.ts'
import { isStoreError } from '../base/store-error.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import type { Clock } from '../runtime/clock.ts'
import {
  type FoundFile,
  filesOf,
  type NamedFile,
  type NeedleAccess,
  namedFiles,
  nameOfRow,
  ObjectVolumes,
} from './named-needles.ts'
import { findUnnamed, type VolumeFinding } from './unnamed-needles.ts'

export interface NamespaceCheckParts extends NeedleAccess {
  readonly namespace: NamespaceApi
  readonly clock: Clock
}

export interface NamespaceCheckOptions {
  /** Undefined: all, and needles that nothing names as well. */
  readonly bucket: string | undefined
  /** A needle that is younger may be named yet. */
  readonly graceMs: number
  /** Findings that are told one by one; the others are only counted. */
  readonly problemsMax: number
}

export interface NamespaceProblem {
  /** `lost`: a row's bytes are not all there. `unnamed`: no row has them. */
  readonly kind: 'lost' | 'unnamed'
  readonly fileId: string
  readonly message: string
}

export interface NamespaceReport {
  /** Files that versions and parts of uploads name. */
  readonly namedFiles: number
  readonly lostFiles: number
  /** They lie on volumes that are erasure-coded as a whole, which nobody lists. */
  readonly unseenFiles: number
  readonly needles: number
  readonly unnamedNeedles: number
  readonly unnamedBytes: number
  /** Of these, what no gateway stored. */
  readonly foreignNeedles: number
  readonly youngNeedles: number
  readonly problems: readonly NamespaceProblem[]
}

/**
 * Compares the rows of buckets with the needles on volumes, both ways, while the cluster runs:
 * every file of a row must be there with its size, and all needles behind it; every needle must
 * belong to a file of a row, or be due to be deleted, or be young. A row that changed while it was
 * looked at is looked at again. Changes nothing.
 *
 * @throws {StoreError} BUCKET_NOT_FOUND never. Those of the namespace and of volume servers.
 */
export async function checkNamespace(
  parts: NamespaceCheckParts,
  options: NamespaceCheckOptions,
  signal: AbortSignal,
): Promise<NamespaceReport> {
  const volumes = await ObjectVolumes.open(parts, signal)
  const tally = new Tally(options.problemsMax)
  const onFound = async (found: FoundFile): Promise<void> => {
    if (found.file.row.kind === 'dropped') return
    tally.count(found, volumes)
    if (found.problem === undefined) return
    const problem = await problemNow(parts, found.file, signal)
    if (problem !== undefined) tally.lost(found.file, problem)
  }
  if (options.bucket !== undefined) {
    for await (const group of namedFiles(parts.namespace, options.bucket, signal)) {
      for (const found of await volumes.find(group, signal)) await onFound(found)
    }
    return tally.report
  }
  const unnamed = findUnnamed({ ...parts, volumes }, { minAgeMs: options.graceMs, onFound }, signal)
  for await (const finding of unnamed) tally.needles(finding)
  return tally.report
}

/** Volumes move, and rows change: undefined when all is well on a second look. */
async function problemNow(
  parts: NamespaceCheckParts,
  file: NamedFile,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { row } = file
  const text = formatFileId(file.fileId)
  let files: readonly NamedFile[] = [file]
  if (row.kind === 'version') {
    const { bucket, key, version } = row
    const versionId = version.isNull ? 'null' : version.id
    const again = await orNone(parts.namespace.findObject({ bucket, key, versionId }, signal))
    const isSame = again?.id === version.id
    files = isSame ? filesOf(bucket, key, again) : []
  } else if (row.kind === 'part') {
    const ref = { ...row, after: row.partNumber - 1, limit: 1 }
    const [part] = (await orNone(parts.namespace.listParts(ref, signal))) ?? []
    if (part?.fileId !== text) return undefined
  }
  const wanted = files.filter(({ fileId }) => formatFileId(fileId) === text)
  const volumes = await ObjectVolumes.open(parts, signal)
  const [found] = await volumes.find(wanted, signal)
  return found?.problem
}

async function orNone<Value>(asking: Promise<Value>): Promise<Value | undefined> {
  try {
    return await asking
  } catch (error) {
    if (isStoreError(error, 'BUCKET_NOT_FOUND', 'UPLOAD_NOT_FOUND')) return undefined
    throw error
  }
}

class Tally {
  readonly #problemsMax: number
  readonly #problems: NamespaceProblem[] = []
  readonly #counts = {
    namedFiles: 0,
    lostFiles: 0,
    unseenFiles: 0,
    needles: 0,
    unnamedNeedles: 0,
    unnamedBytes: 0,
    foreignNeedles: 0,
    youngNeedles: 0,
  }

  constructor(problemsMax: number) {
    this.#problemsMax = problemsMax
  }

  get report(): NamespaceReport {
    return { ...this.#counts, problems: this.#problems }
  }

  count({ file }: FoundFile, volumes: ObjectVolumes): void {
    this.#counts.namedFiles++
    if (volumes.codedVolumeIds.has(file.fileId.volumeId)) this.#counts.unseenFiles++
  }

  lost({ fileId, row }: NamedFile, problem: string): void {
    this.#counts.lostFiles++
    const message = `${nameOfRow(row)}: ${problem}`
    this.#tell({ kind: 'lost', fileId: formatFileId(fileId), message })
  }

  needles({ liveCount, unnamed, youngCount }: VolumeFinding): void {
    this.#counts.needles += liveCount
    this.#counts.youngNeedles += youngCount
    for (const { dataBytes, fileId, generation, owner } of unnamed) {
      if (generation !== undefined) continue
      this.#counts.unnamedNeedles++
      this.#counts.unnamedBytes += dataBytes
      if (owner === undefined) this.#counts.foreignNeedles++
      const whose =
        owner === undefined
          ? 'no gateway stored it'
          : `of ${owner.bucket}/${owner.key} (${owner.version})`
      this.#tell({ kind: 'unnamed', fileId: formatFileId(fileId), message: whose })
    }
  }

  #tell(problem: NamespaceProblem): void {
    if (this.#problems.length < this.#problemsMax) this.#problems.push(problem)
  }
}
