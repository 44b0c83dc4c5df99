/** A damaged copy of some bytes, with the words that name the damage in a failing test. */
export interface Mutation {
  readonly what: string
  readonly bytes: Buffer
}

/** Every cut: 0 bytes, 1 byte, … all but the last. */
export function* everyCut(source: Buffer): Generator<Mutation> {
  for (let length = 0; length < source.length; length++) {
    yield { what: `cut after ${length} bytes`, bytes: Buffer.from(source.subarray(0, length)) }
  }
}

/** Every single bit flipped, and every byte set to each extreme. */
export function* everyFlip(source: Buffer): Generator<Mutation> {
  for (let at = 0; at < source.length; at++) {
    const original = source[at] ?? 0
    for (let bit = 0; bit < 8; bit++) {
      yield { what: `bit ${bit} of byte ${at}`, bytes: withByte(source, at, original ^ (1 << bit)) }
    }
    for (const value of [0x00, 0x7f, 0x80, 0xff]) {
      if (value === original) continue
      yield { what: `byte ${at} is ${value}`, bytes: withByte(source, at, value) }
    }
  }
}

function withByte(source: Buffer, at: number, value: number): Buffer {
  const bytes = Buffer.from(source)
  bytes[at] = value
  return bytes
}
