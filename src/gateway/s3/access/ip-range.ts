import ipaddr from 'ipaddr.js'

/** Addresses that share their first bits. IPv4 written as IPv6 (`::ffff:…`) is IPv4. */
export interface IpRange {
  readonly kind: 'ipv4' | 'ipv6'
  readonly bytes: readonly number[]
  readonly prefixBits: number
}

/** Bits in front of the 32 of an IPv4 address that is written as an IPv6 address. */
const MAPPED_BITS = 96

/** An address or a CIDR block, with bits of the host or without; undefined: it is neither. */
export function parseIpRange(text: string): IpRange | undefined {
  const slash = text.indexOf('/')
  const address = parseIp(slash < 0 ? text : text.slice(0, slash))
  if (address === undefined) return undefined
  const bitsMax = address.bytes.length * 8
  if (slash < 0) return { kind: address.kind, bytes: address.bytes, prefixBits: bitsMax }
  const digits = text.slice(slash + 1)
  if (!/^\d{1,3}$/.test(digits)) return undefined
  const prefixBits = Number(digits) - (address.isMapped ? MAPPED_BITS : 0)
  if (prefixBits < 0 || prefixBits > bitsMax) return undefined
  return { kind: address.kind, bytes: address.bytes, prefixBits }
}

/** False for a text that is no address. */
export function isInIpRange(range: IpRange, text: string): boolean {
  const address = parseIp(text)
  if (address === undefined || address.kind !== range.kind) return false
  for (let bit = 0; bit < range.prefixBits; bit += 8) {
    const shift = Math.max(0, 8 - (range.prefixBits - bit))
    const difference = (address.bytes[bit / 8] ?? 0) ^ (range.bytes[bit / 8] ?? 0)
    if (difference >> shift !== 0) return false
  }
  return true
}

interface IpAddress {
  readonly kind: 'ipv4' | 'ipv6'
  readonly bytes: readonly number[]
  readonly isMapped: boolean
}

function parseIp(text: string): IpAddress | undefined {
  // Only four decimal numbers are IPv4: `010.1` or `0x7f000001` are read differently elsewhere.
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    return { kind: 'ipv4', bytes: ipaddr.IPv4.parse(text).toByteArray(), isMapped: false }
  }
  if (!text.includes(':') || !ipaddr.IPv6.isValid(text)) return undefined
  const address = ipaddr.IPv6.parse(text)
  if (address.isIPv4MappedAddress()) {
    return { kind: 'ipv4', bytes: address.toIPv4Address().toByteArray(), isMapped: true }
  }
  return { kind: 'ipv6', bytes: address.toByteArray(), isMapped: false }
}
