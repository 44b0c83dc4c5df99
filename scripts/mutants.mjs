// Shows that every safety measure is needed and tested: switches one off at a time in a copy of the
// tree and runs the tests that should notice. A mutant that no test notices fails this script.
//
// Usage: npm run mutants [-- NAME…]
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const MODEL = 'test/storage/volume-model.test.ts'
const VACUUM = 'test/storage/vacuum-faults.test.ts'
const VOLUME = 'test/storage/volume.test.ts'
const RECOVERY = 'test/storage/recovery.test.ts'
const LOCATION = 'test/storage/disk-location.test.ts'
const SHARD_SET = 'test/storage/shard-set.test.ts'
const INTENTS = 'test/namespace/write-intents.test.ts'
const SHARD_FAULTS = 'test/storage/shard-set-faults.test.ts'

/** `from` must stand in the file exactly once: a mutant that does not apply is an error. */
const MUTANTS = [
  {
    name: 'proof-of-fast-shards',
    file: 'src/volume/http-fast-shard.ts',
    from: "if (!this.#parts.verifyReplica({ method: 'GET', url: path, headers: {} })) return",
    to: "if (path === '') return",
    tests: ['test/volume/coded-servers.test.ts'],
  },
  {
    name: 'fsync',
    file: 'src/storage/volume-writer.ts',
    from: '    if (!this.#options.isSynced) return\n',
    to: '    return\n',
    tests: [MODEL],
  },
  {
    name: 'crc-check',
    file: 'src/format/needle.ts',
    from: '  if (sizeBytes > 0 && !matchesChecksum(',
    to: '  if (sizeBytes < 0 && !matchesChecksum(',
    tests: [VOLUME, 'test/format/needle.test.ts'],
  },
  {
    name: 'tail-cut',
    file: 'src/storage/recovery.ts',
    from: '  if (endBytes < datBytes) await dat.truncate(endBytes)\n',
    to: '',
    tests: [MODEL, RECOVERY],
  },
  {
    name: 'tombstone-sync',
    file: 'src/storage/volume-writer.ts',
    from: '      await this.#write(generation, batch)\n      await this.#sync(generation)\n',
    to:
      '      await this.#write(generation, batch)\n' +
      "      if (batch[0]?.kind === 'put') await this.#sync(generation)\n",
    tests: [MODEL],
  },
  {
    name: 'directory-sync-of-new-files',
    file: 'src/storage/volume-open.ts',
    from: '  await disk.syncDirectory(dirname(paths.dat))\n',
    to: '  dirname(paths.dat)\n',
    also: [
      {
        file: 'src/runtime/disk.ts',
        from: '  await disk.syncDirectory(dirname(path))\n',
        to: '  dirname(path)\n',
      },
    ],
    tests: [MODEL],
  },
  {
    name: 'directory-sync-of-a-switch',
    file: 'src/storage/vacuum-switch.ts',
    from: 'paths.failed)\n  await disk.syncDirectory(paths.directory)\n',
    to: 'paths.failed)\n',
    also: [
      {
        from: 'paths.commitMarker)\n  await disk.syncDirectory(paths.directory)\n}',
        to: 'paths.commitMarker)\n}',
      },
    ],
    tests: [MODEL, VACUUM],
  },
  {
    name: 'directory-sync-of-a-removal',
    file: 'src/storage/volume-remove.ts',
    from: 'await disk.syncDirectory(paths.directory)',
    to: '',
    isEverywhere: true,
    tests: [LOCATION, 'test/storage/store.test.ts'],
  },
  {
    name: 'verify-before-switch',
    file: 'src/storage/vacuum.ts',
    from: '      verifier.checkWhole()\n',
    to: '',
    also: [
      {
        from: 'if (!isIntact || !isKnown || (isPlaced && location.sizeBytes !== header.sizeBytes',
        to: 'if (!isKnown && isPlaced && !isIntact && (location.sizeBytes < 0',
      },
    ],
    tests: [VACUUM],
  },
  {
    name: 'cut-back-sync',
    file: 'src/storage/volume-writer.ts',
    from: 'generation.dat.truncate(startBytes)\n      await generation.dat.datasync()\n',
    to: 'generation.dat.truncate(startBytes)\n',
    tests: ['test/storage/cut-back.test.ts'],
  },
  {
    name: 'publish-after-sync',
    file: 'src/storage/volume-writer.ts',
    from: '      await this.#write(generation, batch)\n      await this.#sync(generation)\n',
    to:
      '      await this.#write(generation, batch)\n' +
      '      this.#publish(generation, batch, startBytes)\n' +
      '      await this.#sync(generation)\n      return\n',
    tests: [VOLUME, 'test/storage/volume-batch.test.ts'],
  },
  {
    name: 'view-stamp',
    file: 'src/storage/volume-view.ts',
    from: '    if (Atomics.load(this.#stampWord, 0) !== this.#stamp) return undefined\n',
    to: '',
    isEverywhere: true,
    tests: ['test/storage/volume-view.test.ts'],
  },
  {
    name: 'epoch-before-obeying',
    file: 'src/volume/epoch-file.ts',
    from: '    await replaceFile(this.#disk, this.#path,',
    to: '    ;((..._unused) => replaceFile)(this.#disk, this.#path,',
    tests: ['test/volume/epoch-file.test.ts'],
  },
  {
    name: 'id-block-before-use',
    file: 'src/metadata/level/level-coordinator.ts',
    from: '{ puts: [{ key, value: encodeNumber(end) }], conditions: [{ key, value: row }] }',
    to: '{ puts: [{ key, value: encodeNumber(first) }], conditions: [{ key, value: row }] }',
    tests: ['test/metadata', 'test/master/sequencer.test.ts'],
  },
  {
    name: 'write-token',
    file: 'src/volume/needle-service.ts',
    from: '    tokens.verifyWrite(request.writeToken, request.fileId)\n',
    to: '',
    tests: ['test/volume/token-matrix.test.ts'],
  },
  {
    name: 'every-replica',
    file: 'src/volume/replicated-writes.ts',
    from:
      '    if (here.error === undefined && failed.length === 0 && missingCount === 0) ' +
      'return here.answer\n',
    to: '    if (here.error === undefined) return here.answer\n',
    tests: ['test/volume/replicated-writes.test.ts', 'test/volume/replicated-servers.test.ts'],
  },
  {
    name: 'delete-intent',
    file: 'src/namespace/named-files.ts',
    from: '      if (before !== undefined) dropNamed(changes, before)\n',
    to: '',
    tests: ['test/namespace/named-files.test.ts'],
  },
  {
    name: 'signed-method',
    file: 'src/net/cluster-auth.ts',
    from: '    if (shown.length !== MAC_BYTES || !timingSafeEqual(shown, this.#mac(head, what))) {',
    to: '    if (shown.length !== MAC_BYTES || !timingSafeEqual(shown, shown)) {',
    tests: ['test/net/cluster-auth.test.ts'],
  },
  {
    name: 'tombstone-wins',
    file: 'src/jobs/needle-verdict.ts',
    from: "  const isDeleted = truths.some((index) => stateAt(index) === 'deleted')\n",
    to: "  const isDeleted = truths.every((index) => stateAt(index) === 'deleted')\n",
    tests: ['test/jobs/needle-verdict.test.ts', 'test/jobs/needle-merge.test.ts'],
  },
  {
    name: 'catch-up-and-compare-before-a-copy-counts',
    file: 'src/jobs/copy-in.ts',
    from: '  if (areSame(await digestsOf(work, [copy.source, copy.target], signal))) return true\n',
    to: '  if (areSame([])) return true\n',
    also: [
      {
        from: '  if (!isGood) return { copy, recordCount: 0 }\n',
        to: '  return { copy, recordCount: 0 }\n',
      },
    ],
    tests: ['test/jobs/jobs.test.ts', 'test/jobs/model.test.ts'],
  },
  {
    name: 'copies-go-only-unchanged',
    file: 'src/storage/disk-location.ts',
    from: '  if (isSame) return undefined\n',
    to: '  if (isSame || expected !== undefined) return undefined\n',
    tests: ['test/volume/local-volume.test.ts', 'test/storage/volume-replace.test.ts'],
  },
  {
    name: 'old-generations-do-not-count',
    file: 'src/master/volume-members.ts',
    from: 'isSameOrLater(compactionRevision, named.compactionRevision) ? named',
    to: 'compactionRevision >= 0 ? named',
    also: [{ from: 'import { isSameOrLater, ', to: 'import { ' }],
    tests: ['test/master/volume-sets.test.ts'],
  },
  {
    name: 'mass-disappearance',
    file: 'src/master/membership.ts',
    from: '    return gone >= MASS_MIN && gone > nodes.length * this.#config.repair.massShare\n',
    to: '    return gone < 0 && gone >= MASS_MIN\n',
    tests: ['test/master/member-nodes.test.ts', 'test/master/scheduler.test.ts'],
  },
  {
    name: 'dirty-records-before-the-answer',
    file: 'src/volume/replicated-writes.ts',
    from: '      await this.#parts.dirty.record({ volumeId, needleId, kind, unreached })\n',
    to: '',
    tests: ['test/volume/replicated-writes.test.ts'],
  },
  {
    name: 'frozen-volumes-are-not-written',
    file: 'src/volume/write-gate.ts',
    from: '    if (this.#frozen.size === 0) return undefined\n',
    to: '    if (this.#frozen.size >= 0) return undefined\n',
    tests: ['test/volume/write-gate.test.ts'],
  },
  {
    name: 'journal-sync-before-the-answer',
    file: 'src/storage/shard-journal.ts',
    from: '      await this.#write(bytes)\n      await this.#sync()\n',
    to: '      await this.#write(bytes)\n',
    tests: [SHARD_FAULTS],
  },
  {
    name: 'journal-cut-back',
    file: 'src/storage/shard-journal.ts',
    from: '      await this.#cutBack()\n',
    to: '',
    tests: [SHARD_SET],
  },
  {
    name: 'journal-renewed-after-a-failed-sync',
    file: 'src/storage/shard-journal.ts',
    from: '    if ((await disk.stat(paths.failed)) !== undefined) await renew(disk, paths)\n',
    to: '',
    tests: [SHARD_SET],
  },
  {
    name: 'vif-of-a-shard-set-last',
    file: 'src/storage/shard-set-files.ts',
    from: '  checkFiles(files.run, files.ecx, files.checksums)\n',
    to:
      '  checkFiles(files.run, files.ecx, files.checksums)\n' +
      '  await replaceFile(disk, paths.vif, encodeShardRun(files.run))\n',
    also: [
      {
        from:
          '  await disk.syncDirectory(paths.directory)\n' +
          '  await replaceFile(disk, paths.vif, encodeShardRun(files.run))\n}',
        to: '  await disk.syncDirectory(paths.directory)\n}',
      },
    ],
    tests: [SHARD_FAULTS],
  },
  {
    name: 'vif-of-a-shard-set-removed-first',
    file: 'src/storage/shard-set-files.ts',
    from: '  await unlinkIfThere(disk, paths.vif)\n  await disk.syncDirectory(paths.directory)\n',
    to: '',
    tests: [SHARD_FAULTS],
  },
  {
    name: 'shards-compared-before-their-rename',
    file: 'src/storage/shard-writer.ts',
    from: '      if (isBlockEnd) this.#checkBlock()\n',
    to: '      if (isBlockEnd) this.#crc = 0\n',
    tests: [SHARD_SET],
  },
  {
    name: 'shards-synced-before-their-rename',
    file: 'src/storage/shard-set.ts',
    from: '    await writer.finish()\n',
    to: '',
    tests: [SHARD_FAULTS],
  },
  {
    name: 'directory-sync-of-a-shard',
    file: 'src/storage/shard-set.ts',
    from:
      '    await disk.rename(shardDraftPath(this.paths, shard), path)\n' +
      '    await disk.syncDirectory(this.directory)\n',
    to: '    await disk.rename(shardDraftPath(this.paths, shard), path)\n',
    tests: [SHARD_FAULTS],
  },
  {
    name: 'shards-synced-before-they-count',
    file: 'src/storage/encode-volume.ts',
    from: '  for (const writer of writers) await writer.finish()\n',
    to: '',
    tests: [SHARD_FAULTS],
  },
  {
    name: 'volume-compared-while-it-is-coded',
    file: 'src/storage/scattered-checksums.ts',
    from: '    if (missing === 0 && sum !== this.#known.crcs[index]) {',
    to: '    if (missing < 0 && sum !== this.#known.crcs[index]) {',
    tests: ['test/storage/encode-volume.test.ts'],
  },
  {
    name: 'needles-checked-before-they-are-coded',
    file: 'src/storage/encode-volume.ts',
    from: '  if (volume.recovery.corruptNeedles > 0) await',
    to: '  if (volume.recovery.corruptNeedles < 0) await',
    tests: ['test/storage/encode-volume.test.ts'],
  },
  {
    name: 'planned-before-sent',
    file: 'src/client/needle-writer.ts',
    from: '        await planned?.tell([grant.fileId], signal)\n',
    to: '        void planned?.tell([grant.fileId], signal)\n',
    tests: ['test/client/planned-ids.test.ts'],
  },
  {
    name: 'session-before-its-intents',
    file: 'src/gateway/gateway-session.ts',
    from: '    await isKnown\n',
    to: '    void isKnown\n',
    tests: ['test/gateway/gateway-session.test.ts'],
  },
  {
    name: 'intents-left-are-undone-later',
    file: 'src/gateway/gateway-session.ts',
    from: '        if (this.#left.size < LEFT_MAX) this.#left.add(id)\n',
    to: '        if (this.#left.size > LEFT_MAX) this.#left.add(id)\n',
    tests: ['test/gateway/gateway-session.test.ts'],
  },
  {
    name: 'intent-goes-with-the-commit',
    file: 'src/namespace/object-changes.ts',
    from: '    if (intentId !== undefined) await endIntent(store, intentId, changes, signal)\n',
    to: "    if (intentId === undefined && isDirty) await endIntent(store, '', changes, signal)\n",
    tests: [INTENTS],
  },
  {
    name: 'lost-intents-are-not-carried-out',
    file: 'src/namespace/write-intents.ts',
    from: '  if (row === undefined) throw intentLost()\n',
    to: '  if (row === undefined) return\n',
    tests: [INTENTS],
  },
  {
    name: 'files-shared-only-with-the-newest',
    file: 'src/namespace/object-changes.ts',
    from: "(current?.version.id !== sharesWith || bucket.versioning !== 'off')",
    to: "bucket.versioning !== 'off'",
    tests: [INTENTS],
  },
  {
    name: 'shared-files-are-kept',
    file: 'src/namespace/object-changes.ts',
    from: '      if (!keptFiles.has(fileId)) changes.dropFile(fileId, version.sizeBytes)\n',
    to: '      if (keptFiles.size >= 0) changes.dropFile(fileId, version.sizeBytes)\n',
    tests: [INTENTS],
  },
  {
    name: 'undo-drops-files',
    file: 'src/namespace/write-intents.ts',
    from: '      for (const fileId of found.fileIds) changes.dropFile(fileId, 0)\n',
    to: '',
    tests: [INTENTS],
  },
  {
    name: 'writes-of-gateways-alive-are-not-undone',
    file: 'src/namespace/write-intents.ts',
    from: 'if (isOnlyIfOrphaned && this.#parts.sessions.isAlive(found.session)) return false',
    to: "if (isOnlyIfOrphaned && found.session === '') return false",
    tests: [INTENTS],
  },
  {
    name: 'orphaned-writes-are-undone',
    file: 'src/jobs/heal-pass.ts',
    from: '      if (!isOrphaned) continue\n',
    to: '      if (isOrphaned || !isOrphaned) continue\n',
    tests: ['test/jobs/heal-pass.test.ts'],
  },
  {
    name: 'manifests-are-read-when-their-files-are-gone',
    file: 'src/net/needle-http.ts',
    from: "query !== ITSELF && failed.header('x-file-store') === 'chunked'",
    to: "query !== ITSELF && failed.header('x-file-store') === ''",
    tests: ['test/net/remote-volume.test.ts'],
  },
  {
    name: 'shards-of-files-stay-apart',
    file: 'src/master/next-moves.ts',
    from: 'if (isShardVolume(facts) || !isWhole(facts) || isBusy(volumeId)) continue',
    to: 'if (!isWhole(facts) || isBusy(volumeId)) continue',
    tests: ['test/master/next-moves.test.ts'],
  },
  {
    name: 'cold-fields-compared-before-they-are-kept',
    file: 'src/gateway/documents/document-facts.ts',
    from: 'if (current.document?.coldSha256 !== coldSha256 || part === undefined) return',
    to: 'if (part === undefined) return',
    tests: ['test/gateway/documents/document-updates.test.ts'],
  },
  {
    name: 'kept-files-of-a-document-are-named',
    file: 'src/gateway/unnamed-needles.ts',
    from:
      '    if (files.some((file) => formatFileId(file.fileId) === wanted)) return true\n' +
      '    if (await',
    to: '    if (await',
    also: [
      {
        from: 'files.filter(mayBeShared), wanted, signal)) return true',
        to: '[], wanted, signal)) return true',
      },
    ],
    tests: ['test/gateway/orphan-collector.test.ts'],
  },
]

function replaceOnce(text, { from, to, isEverywhere }, where) {
  const parts = text.split(from)
  if (parts.length < 2 || (parts.length > 2 && !isEverywhere))
    throw new Error(`${where}: found ${parts.length - 1} times, not once`)
  return parts.join(to)
}

/** How many mutants are tried at the same time, each in a copy of the tree of its own. */
const LANES = 2
const TIMEOUT_MS = 300_000

function runTests(directory, mutant) {
  const env = { ...process.env, CI: 'true' }
  // Not by `npx`, which takes as long to start as many of the tests need.
  const vitest = join(directory, 'node_modules/vitest/vitest.mjs')
  const args = [vitest, 'run', '--project', 'unit', '--bail', '1', ...mutant.tests]
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, args, { cwd: directory, env, timeout: TIMEOUT_MS })
    let output = ''
    const collect = (chunk) => {
      output += chunk
    }
    running.stdout.setEncoding('utf8').on('data', collect)
    running.stderr.setEncoding('utf8').on('data', collect)
    running.on('error', reject)
    running.on('close', (status) => resolve({ status, output }))
  })
}

/** The test runner colours its summary even into a pipe when CI is set. */
function stripColours(text) {
  return text
    .split('\u001b')
    .map((part) => part.replace(/^\[[0-9;]*m/, ''))
    .join('')
}

async function tryMutant(directory, mutant) {
  const originals = new Map()
  try {
    for (const change of [mutant, ...(mutant.also ?? [])]) {
      const path = join(directory, change.file ?? mutant.file)
      const text = readFileSync(path, 'utf8')
      if (!originals.has(path)) originals.set(path, text)
      writeFileSync(path, replaceOnce(text, change, mutant.name))
    }
    const result = await runTests(directory, mutant)
    const output = stripColours(result.output)
    const failed = /Tests .*?(\d+) failed/.exec(output)
    return { isNoticed: result.status !== 0 && failed !== null, output }
  } finally {
    for (const [path, text] of originals) writeFileSync(path, text)
  }
}

const wanted = process.argv.slice(2)
const mutants = MUTANTS.filter(({ name }) => wanted.length === 0 || wanted.includes(name))
// All of them first: the code a mutant changes may have moved.
for (const mutant of mutants) {
  for (const change of [mutant, ...(mutant.also ?? [])]) {
    const path = join(ROOT, change.file ?? mutant.file)
    replaceOnce(readFileSync(path, 'utf8'), change, `${mutant.name}, ${path}`)
  }
}
const PARTS = ['src', 'test', 'package.json', 'tsconfig.json', 'vitest.config.ts', 'proto']

function copyTree() {
  const directory = mkdtempSync(join(tmpdir(), 'hayloft-mutants-'))
  for (const part of PARTS) cpSync(join(ROOT, part), join(directory, part), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  return directory
}

let survivors = 0
const waiting = [...mutants]

async function runLane() {
  const directory = copyTree()
  try {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const { isNoticed, output } = await tryMutant(directory, mutant)
      console.log(`${isNoticed ? 'noticed ' : 'SURVIVED'}  without ${mutant.name}`)
      if (isNoticed) continue
      survivors++
      console.log(output.split('\n').slice(-15).join('\n'))
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

await Promise.all(Array.from({ length: LANES }, runLane))
console.log(`${mutants.length - survivors} of ${mutants.length} mutants noticed`)
process.exitCode = survivors === 0 && mutants.length > 0 ? 0 : 1
