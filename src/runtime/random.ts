import { randomFillSync } from 'node:crypto'

export interface Random {
  /** Uniform in 0 … 2^32 - 1. */
  u32(): number
}

// One call of the system for many numbers: a call per number costs about a hundred times more.
const pool = new Uint32Array(1024)
let used = pool.length

/** Unpredictable: fit for cookies and secrets. */
export const cryptoRandom: Random = {
  u32() {
    if (used === pool.length) {
      randomFillSync(pool)
      used = 0
    }
    const value = pool[used] ?? 0
    pool[used] = 0 // A number given out is not kept where a later bug could show it.
    used++
    return value
  },
}

/** `count` random bytes: as hard to guess as the numbers of `random`. */
export function drawBytes(random: Random, count: number): Buffer {
  const bytes = Buffer.alloc(Math.ceil(count / 4) * 4)
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(random.u32(), at)
  return bytes.subarray(0, count)
}
