import { readFileSync } from 'node:fs'

/** Bytes of a file under test/golden/. */
export function golden(name: string): Buffer {
  return readFileSync(new URL(`../golden/${name}`, import.meta.url))
}
