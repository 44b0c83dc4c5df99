import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))

/** A file of this repository, its path relative to the root and with forward slashes. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

/** Every file below `folder` whose name ends in one of `endings`, sorted by path. */
export function readSourceFiles(folder: string, ...endings: string[]): SourceFile[] {
  if (!existsSync(`${REPOSITORY}${folder}`)) return []
  return readdirSync(`${REPOSITORY}${folder}`, { recursive: true, encoding: 'utf8' })
    .map((path) => `${folder}/${path.replaceAll('\\', '/')}`)
    .filter((path) => endings.some((ending) => path.endsWith(ending)))
    .toSorted()
    .map((path) => ({ path, text: readFileSync(`${REPOSITORY}${path}`, 'utf8') }))
}
