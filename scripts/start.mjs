#!/usr/bin/env node
// A whole cluster in this process, with S3 on port 8333 and its data in data/: `npm start`. Builds
// first if the sources are newer than the last build. What follows `--` goes to the command:
// `npm start -- --port 9444`.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const MAIN = 'dist/cli/main.js'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
if (!existsSync(MAIN) || newestMs('src') > statSync(MAIN).mtimeMs) {
  console.error('building …')
  execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' })
}
const args = process.argv.slice(2)
const dir = args.includes('--dir') ? [] : ['--dir', process.env.HAYLOFT_DIR ?? 'data']
process.argv = [process.execPath, MAIN, 'server', ...dir, ...args]
await import('../dist/cli/main.js')

function newestMs(directory) {
  let newest = 0
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.ts')) continue
    newest = Math.max(newest, statSync(join(entry.parentPath, entry.name)).mtimeMs)
  }
  return newest
}
