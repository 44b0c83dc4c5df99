import { assert } from '../../../base/assert.ts'
import type { ChecksumAlgorithm } from '../bucket-settings.ts'
import { CHECKSUM_BYTES } from './checksum.ts'

/** Algorithms whose sum of a whole follows from the sums of its parts. */
export type CrcAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME'

/**
 * A polynomial over GF(2) below x^64, in reversed bit order: the highest bit of `high` is the
 * coefficient of x^0, the lowest bit of `low` that of x^63. One of degree below 32 is `high` alone.
 */
interface Polynomial {
  readonly high: number
  readonly low: number
}

/** Without its leading term. Sources: RFC 1952; RFC 3720; NVMe NVM command set, 5.2.1.3.4. */
const MODULI: Readonly<Record<CrcAlgorithm, Polynomial>> = {
  CRC32: { high: 0xedb8_8320, low: 0 },
  CRC32C: { high: 0x82f6_3b78, low: 0 },
  CRC64NVME: { high: 0x9a6c_9329, low: 0xac4b_c9b5 },
}

const ONE: Polynomial = { high: 0x8000_0000, low: 0 }
/** x^8: what one more byte multiplies a remainder with. */
const ONE_BYTE: Polynomial = { high: 0x0080_0000, low: 0 }

/** Powers x^(8 * 2^k) for k = 0, 1, ...: with 53 of them any safe integer is reached. */
const POWERS_COUNT = 53
const POWERS: Readonly<Record<CrcAlgorithm, readonly Polynomial[]>> = {
  CRC32: powersOf('CRC32'),
  CRC32C: powersOf('CRC32C'),
  CRC64NVME: powersOf('CRC64NVME'),
}

export function isCrc(algorithm: ChecksumAlgorithm): algorithm is CrcAlgorithm {
  return algorithm in MODULI
}

/**
 * The sum of parts one after another, from the sum and the length of each. To append B multiplies
 * the remainder of what is before it by x^(8 * bytes of B); that all sums start from and end with
 * inverted bits cancels out. Source of the method: zlib's `crc32_combine`.
 *
 * It keeps the factor of the last length: parts are alike.
 */
export class CrcCombiner {
  readonly #algorithm: CrcAlgorithm
  #sum: Polynomial = { high: 0, low: 0 }
  #factor = ONE
  #factorBytes = 0

  constructor(algorithm: CrcAlgorithm) {
    this.#algorithm = algorithm
  }

  append(crc: Buffer, sizeBytes: number): this {
    assert(crc.length === CHECKSUM_BYTES[this.#algorithm], `a ${this.#algorithm} of another length`)
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, `a part of ${sizeBytes} bytes`)
    if (sizeBytes !== this.#factorBytes) {
      this.#factor = powerOf(this.#algorithm, sizeBytes)
      this.#factorBytes = sizeBytes
    }
    const before = multiply(this.#sum, this.#factor, this.#algorithm)
    const low = crc.length === 8 ? crc.readUInt32BE(4) : 0
    this.#sum = { high: before.high ^ crc.readUInt32BE(0), low: before.low ^ low }
    return this
  }

  digest(): Buffer {
    const bytes = Buffer.alloc(CHECKSUM_BYTES[this.#algorithm])
    bytes.writeUInt32BE(this.#sum.high >>> 0)
    if (bytes.length === 8) bytes.writeUInt32BE(this.#sum.low >>> 0, 4)
    return bytes
  }
}

/** x^(8 * bytesCount). */
function powerOf(algorithm: CrcAlgorithm, bytesCount: number): Polynomial {
  let product = ONE
  let left = bytesCount
  for (const power of POWERS[algorithm]) {
    if (left === 0) break
    if (left % 2 === 1) product = multiply(product, power, algorithm)
    left = Math.floor(left / 2)
  }
  return product
}

function powersOf(algorithm: CrcAlgorithm): readonly Polynomial[] {
  const powers: Polynomial[] = []
  let power = ONE_BYTE
  for (let index = 0; index < POWERS_COUNT; index++) {
    powers.push(power)
    power = multiply(power, power, algorithm)
  }
  return powers
}

function multiply(a: Polynomial, b: Polynomial, algorithm: CrcAlgorithm): Polynomial {
  const modulus = MODULI[algorithm]
  return CHECKSUM_BYTES[algorithm] === 8 ? multiply64(a, b, modulus) : multiply32(a, b, modulus)
}

function multiply32(a: Polynomial, b: Polynomial, modulus: Polynomial): Polynomial {
  let product = 0
  let shifted = b.high
  // From x^0 up: `shifted` is b times the power of x that the bit of a stands for.
  for (let bits = a.high | 0; bits !== 0; bits <<= 1) {
    if (bits < 0) product ^= shifted
    shifted = (shifted >>> 1) ^ (-(shifted & 1) & modulus.high)
  }
  return { high: product, low: 0 }
}

function multiply64(a: Polynomial, b: Polynomial, modulus: Polynomial): Polynomial {
  let high = 0
  let low = 0
  let shiftedHigh = b.high
  let shiftedLow = b.low
  let bitsHigh = a.high | 0
  let bitsLow = a.low | 0
  while ((bitsHigh | bitsLow) !== 0) {
    if (bitsHigh < 0) {
      high ^= shiftedHigh
      low ^= shiftedLow
    }
    bitsHigh = (bitsHigh << 1) | (bitsLow >>> 31)
    bitsLow <<= 1
    const overflow = -(shiftedLow & 1)
    shiftedLow = ((shiftedLow >>> 1) | (shiftedHigh << 31)) ^ (overflow & modulus.low)
    shiftedHigh = (shiftedHigh >>> 1) ^ (overflow & modulus.high)
  }
  return { high, low }
}
