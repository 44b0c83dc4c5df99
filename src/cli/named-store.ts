import type { NeedleMetadata } from '../net/volume-api.ts'

/** A file of a cluster that has a name. */
export interface NamedEntry {
  readonly name: string
  readonly fileId: string
  readonly sizeBytes: number
}

/** A file on its way out. Nothing of `data` is fetched before it is read. */
export interface NamedContent {
  readonly pairs: Readonly<Record<string, string>>
  readonly lastModifiedMs: number | undefined
  readonly data: AsyncIterable<Uint8Array>
}

/** What imports and exports need of a cluster. */
export interface NamedStore {
  /** Acknowledged when it is durable on every replica. Returns the file id. */
  putNamed(
    name: string,
    data: Uint8Array | AsyncIterable<Uint8Array>,
    metadata: NeedleMetadata,
    signal: AbortSignal,
  ): Promise<string>
  /** Every file whose name starts with `prefix`, in the order of their UTF-8 bytes. */
  listNames(prefix: string, signal: AbortSignal): AsyncIterable<NamedEntry>
  readFile(entry: NamedEntry, signal: AbortSignal): Promise<NamedContent>
}
