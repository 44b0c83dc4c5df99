// Commits rows to a LevelStore and says each key on standard output once it is acknowledged, until
// it is killed. Arguments: the directory of the built program, the directory
// of the store, what keys begin with.
const [, , dist, directory, prefix] = process.argv
const { LevelStore } = await import(`${dist}/metadata/level/level-store.js`)
const { systemClock } = await import(`${dist}/runtime/clock.js`)
const { silentLogger } = await import(`${dist}/runtime/logger.js`)
const { NodeDisk } = await import(`${dist}/runtime/node-disk.js`)

const { signal } = new AbortController()
const store = await LevelStore.open(
  { clock: systemClock, disk: new NodeDisk(), logger: silentLogger },
  { directory },
  signal,
)

async function write(writer) {
  for (let number = 0; ; number++) {
    const keys = [`${prefix}/${writer}/${number}/a`, `${prefix}/${writer}/${number}/b`]
    const value = Buffer.from(keys[0])
    await store.commit({ puts: keys.map((key) => ({ key, value })) }, signal)
    process.stdout.write(`${keys[0]}\n`)
  }
}

await Promise.all(Array.from({ length: 16 }, (_, writer) => write(writer)))
