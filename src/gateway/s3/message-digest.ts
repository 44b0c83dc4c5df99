import { createHash, type Hash } from 'node:crypto'

export type MessageDigest = Hash

/** What ETags are made of; nothing is kept safe by it. */
export function newMd5(): MessageDigest {
  return createHash('md5')
}
