import type { Random } from '../../../runtime/random.ts'

/** 128 bits in hex: for a rule that came without an id, unlike any other in its document. */
export function randomId(random: Random): string {
  return Array.from({ length: 4 }, () => random.u32().toString(16).padStart(8, '0')).join('')
}
