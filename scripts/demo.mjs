#!/usr/bin/env node
// The offline demo: pack, check, delete, vacuum, export. Run it with `npm run demo`, as often as
// you like: it begins by removing what the last run left in demo-data/.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
if (!existsSync('dist/cli/main.js')) run('npm', 'run', '--silent', 'build')

const { parseFileId } = await import('../dist/index.js')
const { systemClock } = await import('../dist/runtime/clock.js')
const { silentLogger } = await import('../dist/runtime/logger.js')
const { NodeDisk } = await import('../dist/runtime/node-disk.js')
const { Volume } = await import('../dist/storage/volume.js')
const { UNGUARDED_SPACE } = await import('../dist/storage/volume-options.js')
const { volumePaths } = await import('../dist/storage/volume-paths.js')

const VOLUMES = 'demo-data/volumes'
const COPY = 'demo-data/copy'
for (const leftover of [VOLUMES, COPY]) rmSync(leftover, { recursive: true, force: true })

say('Pack two directory trees into volume files, durable when the command returns')
hayloft('pack', 'src', '--to', VOLUMES, '--quiet')
hayloft('pack', 'node_modules/vitest', '--to', VOLUMES, '--quiet')

say('Read every byte back and compare it with the checksums')
hayloft('check', VOLUMES)

say('Delete every second needle of volume 2, through the engine')
const { name, deleted } = await deleteEverySecond(2)
console.log(`deleted ${deleted} needles, the first of them ${name}`)

say('Give their space back')
hayloft('vacuum', `${VOLUMES}/2`)
hayloft('check', VOLUMES)

say('Copy what lives to files again, and compare one of them')
hayloft('export', `${VOLUMES}/1`, '--to', COPY, '--quiet')
const isSame = readFileSync(`${COPY}/cli/main.ts`).equals(readFileSync('src/cli/main.ts'))
console.log(`${COPY}/cli/main.ts and src/cli/main.ts are ${isSame ? 'the same' : 'DIFFERENT'}`)
if (!isSame) process.exitCode = 1

say('Go on yourself')
console.log(`  npx hayloft dump ${VOLUMES}/1 | head
  npx hayloft check ${VOLUMES}
  printf X | dd of=${VOLUMES}/1.dat bs=1 seek=5000 conv=notrunc   # damage one byte
  npx hayloft check ${VOLUMES}                                       # and see it found`)

async function deleteEverySecond(volumeId) {
  const listed = capture('dump', `${VOLUMES}/${volumeId}`, '--json', '--live')
  const needles = listed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const parts = { disk: new NodeDisk(), clock: systemClock, logger: silentLogger }
  const paths = volumePaths(VOLUMES, { collection: '', volumeId })
  const options = { durability: { mode: 'fsync' }, sizeMaxBytes: 2 ** 30 }
  const volume = await Volume.open({ ...parts, space: UNGUARDED_SPACE }, paths, options)
  const doomed = needles.filter((_, index) => index % 2 === 0)
  const { signal } = new AbortController()
  const remove = ({ fileId }) => {
    const { needleId, cookie } = parseFileId(fileId)
    return volume.delete({ id: needleId, cookie }, signal)
  }
  await Promise.all(doomed.map(remove))
  await volume[Symbol.asyncDispose]()
  return { name: doomed[0].name, deleted: doomed.length }
}

function hayloft(...args) {
  console.log(`$ npx hayloft ${args.join(' ')}`)
  run(process.execPath, 'dist/cli/main.js', ...args)
}

function capture(...args) {
  return execFileSync(process.execPath, ['dist/cli/main.js', ...args], { encoding: 'utf8' })
}

function run(command, ...args) {
  execFileSync(command, args, { stdio: 'inherit' })
}

function say(text) {
  console.log(`\n== ${text}`)
}
