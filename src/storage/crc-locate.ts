/** The generator of CRC-32C, bits reversed. */
const POLYNOMIAL = 0x82f6_3b78

/** What a byte of difference becomes one byte later, and which byte each upper byte stems from. */
const { TABLE, ORIGIN } = makeTables()

/**
 * Where a single wrong byte would explain that a block of `lengthBytes` has the checksum `actual`
 * and not `expected`: places from its start. Usually one, or none when more than one byte is wrong;
 * by chance, in one of 16 blocks of 1 MiB, another one.
 */
export function locateWrongByte(block: {
  readonly lengthBytes: number
  readonly expected: number
  readonly actual: number
}): number[] {
  const places: number[] = []
  // A difference in one byte runs through the checksum like the byte itself: linearly. So it can be
  // followed back, byte by byte, to where it fits into one.
  let difference = block.expected ^ block.actual
  for (let at = block.lengthBytes - 1; at >= 0; at--) {
    const origin = ORIGIN[difference >>> 24] as number
    difference = ((difference ^ (TABLE[origin] as number)) << 8) | origin
    if (difference >>> 8 === 0) places.push(at)
  }
  return places
}

function makeTables(): { readonly TABLE: Int32Array; readonly ORIGIN: Uint8Array } {
  const TABLE = new Int32Array(256)
  const ORIGIN = new Uint8Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let word = byte
    for (let bit = 0; bit < 8; bit++) word = (word & 1 ? POLYNOMIAL : 0) ^ (word >>> 1)
    TABLE[byte] = word
    ORIGIN[word >>> 24] = byte
  }
  return { TABLE, ORIGIN }
}
