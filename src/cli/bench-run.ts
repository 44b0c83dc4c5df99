import type { Clock } from '../runtime/clock.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { Random } from '../runtime/random.ts'

/** What is measured: one way of storing and reading a file. */
export interface BenchTarget extends AsyncDisposable {
  /** Stores a new file, durably; returns its file id. */
  write(data: Buffer, signal: AbortSignal): Promise<string>
  /** Reads a file to its end; returns its bytes. */
  read(fileId: string, signal: AbortSignal): Promise<number>
}

export interface BenchParts {
  readonly clock: Clock
  readonly random: Random
  readonly target: BenchTarget
}

export interface BenchOptions {
  readonly concurrency: number
  readonly count: number
  readonly sizeBytes: number
  readonly onProgress: (done: number) => void
}

export interface BenchResult {
  readonly operation: 'write' | 'read' | 'mixed'
  readonly count: number
  readonly failures: number
  readonly firstFailure: string
  readonly bytes: number
  readonly seconds: number
  readonly perSecond: number
  readonly megabytesPerSecond: number
  readonly latencyMs: {
    readonly mean: number
    readonly p50: number
    readonly p90: number
    readonly p99: number
    readonly max: number
  }
}

/** So many writes of new files. Returns the ids of those that succeeded. */
export async function benchWrites(
  parts: BenchParts,
  options: BenchOptions,
  signal: AbortSignal,
): Promise<{ readonly result: BenchResult; readonly fileIds: readonly string[] }> {
  const fileIds: string[] = []
  const data = randomBytes(parts.random, options.sizeBytes)
  const result = await measure(parts, 'write', options, signal, async (index) => {
    fileIds.push(await parts.target.write(numbered(data, index), signal))
    return data.length
  })
  return { result, fileIds }
}

/** So many reads of these files, chosen at random. */
export async function benchReads(
  parts: BenchParts,
  fileIds: readonly string[],
  options: BenchOptions,
  signal: AbortSignal,
): Promise<BenchResult> {
  return await measure(parts, 'read', options, signal, async () => {
    return await parts.target.read(pick(parts.random, fileIds), signal)
  })
}

/** Four reads to each write. */
export async function benchMixed(
  parts: BenchParts,
  fileIds: readonly string[],
  options: BenchOptions,
  signal: AbortSignal,
): Promise<BenchResult> {
  const data = randomBytes(parts.random, options.sizeBytes)
  return await measure(parts, 'mixed', options, signal, async (index) => {
    if (index % 5 !== 0) return await parts.target.read(pick(parts.random, fileIds), signal)
    await parts.target.write(numbered(data, index), signal)
    return data.length
  })
}

async function measure(
  { clock }: BenchParts,
  operation: BenchResult['operation'],
  { count, concurrency, onProgress }: BenchOptions,
  signal: AbortSignal,
  run: (index: number) => Promise<number>,
): Promise<BenchResult> {
  const latencies: number[] = []
  let bytes = 0
  let failures = 0
  let firstFailure = ''
  const startMs = clock.monotonicMs()
  const once = async (_: unknown, index: number): Promise<void> => {
    const sentMs = clock.monotonicMs()
    try {
      // In two steps: `+=` would take the sum from before the wait, and lose what others added.
      const moved = await run(index)
      bytes += moved
      latencies.push(clock.monotonicMs() - sentMs)
    } catch (error) {
      if (signal.aborted) throw error
      failures++
      if (firstFailure === '') firstFailure = String(error)
    }
    onProgress(latencies.length + failures)
  }
  await mapBounded(upTo(count), concurrency, once, signal)
  const seconds = Math.max((clock.monotonicMs() - startMs) / 1000, 0.001)
  return {
    operation,
    count: latencies.length,
    failures,
    firstFailure,
    bytes,
    seconds,
    perSecond: latencies.length / seconds,
    megabytesPerSecond: bytes / 1e6 / seconds,
    latencyMs: summarize(latencies),
  }
}

/** The value at or below which so many of a hundred lie (nearest rank); 0 of nothing. */
export function percentile(sorted: readonly number[], percent: number): number {
  const rank = Math.ceil((sorted.length * percent) / 100)
  return sorted[Math.max(rank, 1) - 1] ?? 0
}

function summarize(latencies: number[]): BenchResult['latencyMs'] {
  const sorted = latencies.sort((a, b) => a - b)
  const sum = sorted.reduce((total, value) => total + value, 0)
  return {
    mean: sum / Math.max(sorted.length, 1),
    p50: percentile(sorted, 50),
    p90: percentile(sorted, 90),
    p99: percentile(sorted, 99),
    max: sorted.at(-1) ?? 0,
  }
}

function* upTo(count: number): Generator<number, void, undefined> {
  for (let index = 0; index < count; index++) yield index
}

/** Random, so that nothing on the way can make it smaller. */
function randomBytes(random: Random, sizeBytes: number): Buffer {
  const data = Buffer.alloc(sizeBytes)
  for (let at = 0; at + 4 <= sizeBytes; at += 4) data.writeUInt32LE(random.u32(), at)
  return data
}

/** The same bytes with a number in front, where there is room: no two files are the same. */
function numbered(data: Buffer, index: number): Buffer {
  const copy = Buffer.from(data)
  if (copy.length >= 4) copy.writeUInt32LE(index >>> 0, 0)
  return copy
}

function pick(random: Random, fileIds: readonly string[]): string {
  return fileIds[random.u32() % fileIds.length] ?? ''
}
