// Writes the golden files beside this script: one record each, spelled out byte by byte from the
// format's description (docs/FORMAT.md). It shares no code with src/, not even the checksum, so
// that a mistake there cannot hide here. Run: node test/golden/generate.mjs
//
// A released layout is never edited: a new version gets new files.
import { writeFileSync } from 'node:fs'

const POLYNOMIAL = 0x82f63b78

function crc32c(bytes) {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  }
  return (crc ^ 0xffffffff) >>> 0
}

function hex(text) {
  return Buffer.from(text.replace(/\s/g, ''), 'hex')
}

function u32(value) {
  return value.toString(16).padStart(8, '0')
}

function ascii(text) {
  return Buffer.from(text).toString('hex')
}

const FULL_PAIRS = '{"bucket":"b","key":"k"}'
const SIDECAR_BLOCK = 4096
const SIDECAR_DAT = Buffer.alloc(SIDECAR_BLOCK + 8, 'hay')
const SIDECAR_IDX = hex('0000000000000001 00000001 00000016')

const files = {
  'super-block-v1.dat': hex('01 00 0000 0000 0000'),
  // Placement 010, ttl 3 days, second vacuum, two extra bytes.
  'super-block-v2.dat': hex('02 0a 0303 0002 0002 0a00'),
  // Placement 110, ttl 5 weeks, revision 258.
  'super-block-v3.dat': hex('03 6e 0504 0102 0000'),

  // id 1, cookie 637037d6, data hello, masked checksum; padding 7 from the id.
  'needle-v1.dat': hex('637037d6 0000000000000001 00000005 68656c6c6f 191c1fbb 00000000000000'),
  // The same with name and time, raw checksum; padding 6 from time and id.
  'needle-v2.dat': hex(`637037d6 0000000000000001 00000016 00000005 68656c6c6f 0e
    05 612e747874 00 006553f100 9a71bb4c 6553f1000000`),
  // The same with the time of the append; padding 6 from the size.
  'needle-v3.dat': hex(`637037d6 0000000000000001 00000016 00000005 68656c6c6f 0e
    05 612e747874 00 006553f100 9a71bb4c 17979cfe3d85cd15 000000160000`),
  // Every flag but the unused one: id 0x0102030405060708, gzip, chunk manifest, ttl 4 hours, pairs.
  // Unpadded it has 88 bytes, a multiple of 8 already: that makes padding 8, not 0.
  'needle-v3-full.dat': hex(`ffffffff 0102030405060708 0000003c 00000005 68656c6c6f bf
    05 612e747874 0a ${ascii('text/plain')} 006553f100 0402 0018 ${ascii(FULL_PAIRS)}
    9a71bb4c 17979cfe3d85cd16 0000003c00000000`),
  // The deletion of the third: size 0, the checksum of what was deleted, one ns later.
  'tombstone-v3.dat': hex('637037d6 0000000000000001 00000000 9a71bb4c 17979cfe3d85cd16 00000000'),

  // Put needle 1 at 8, put 0x0102030405060708 at the last unit, delete 1 by the tombstone at 64.
  'rows.idx': hex(`0000000000000001 00000001 00000016
    0102030405060708 ffffffff 7fffffff 0000000000000001 00000008 ffffffff`),
  // The same with 5-byte offsets: the fifth byte is the highest one.
  'rows-wide.idx': hex(`0000000000000001 00000001 00 00000016
    0102030405060708 ffffffff 01 7fffffff 0000000000000001 00000008 00 ffffffff`),

  'volume-info.vif': Buffer.from(`{
  "files": [],
  "version": 3,
  "replication": "010",
  "bytesOffset": 4,
  "datFileSize": "8589934592",
  "expireAtSec": "1700000000",
  "readOnly": true,
  "ecShardConfig": {
    "dataShards": 10,
    "parityShards": 4,
    "encodeTsNs": "1700000000123456789",
    "codec": "ronomon-cauchy",
    "codecUnit": 262144
  },
  "readOnlyCanDelete": false
}
`),
}

// Two blocks of 4 KiB, the second with 8 bytes; clean and sealed; revision 2.
const body = Buffer.concat([
  Buffer.from('HAYSUM\r\n', 'latin1'),
  hex(`00000001 00001000 0000000000001008 0000000000000010 ${u32(crc32c(SIDECAR_IDX))}
    0002 0003 17979cfe3d85cd15 00000002`),
  hex(u32(crc32c(SIDECAR_DAT.subarray(0, SIDECAR_BLOCK)))),
  hex(u32(crc32c(SIDECAR_DAT.subarray(SIDECAR_BLOCK)))),
])
files['checksums.sum'] = Buffer.concat([body, hex(u32(crc32c(body)))])

for (const [name, bytes] of Object.entries(files)) {
  writeFileSync(new URL(name, import.meta.url), bytes)
}
