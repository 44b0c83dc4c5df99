/**
 * The order of the UTF-8 bytes of two texts, which is that of their code points: below 0 when `a`
 * comes first. JavaScript's own order puts U+E000 to U+FFFF behind what lies above U+FFFF.
 */
export function compareUtf8(a: string, b: string): number {
  if (a === b) return 0
  const end = Math.min(a.length, b.length)
  for (let at = 0; at < end; at++) {
    const one = a.charCodeAt(at)
    const other = b.charCodeAt(at)
    if (one !== other) return rank(one) - rank(other)
  }
  return a.length - b.length
}

/** Surrogates, which stand for what lies above U+FFFF, come last. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}
