import {
  encodeNeedleHead,
  encodeNeedleTail,
  type NeedleInput,
  prepareNeedle,
} from '../../src/format/needle.ts'

/** A 64-bit time as the two halves that encoders take. */
export function halvesOf(value: bigint): { readonly hi: number; readonly lo: number } {
  return { hi: Number(value >> 32n), lo: Number(value & 0xffff_ffffn) }
}

/** A whole version 3 record in one buffer. */
export function encodeNeedle(input: NeedleInput, appendAtNs: bigint): Buffer {
  const needle = prepareNeedle(input)
  const target = Buffer.alloc(needle.recordBytes, 0xee)
  const dataAt = encodeNeedleHead(needle, target, 0)
  target.set(needle.data, dataAt)
  encodeNeedleTail(needle, halvesOf(appendAtNs), target, dataAt + needle.dataBytes)
  return target
}
