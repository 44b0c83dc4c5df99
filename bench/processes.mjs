/** Other processes that the benches measure: started, watched, and ended. */
import { execFile, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'

const TICKS_PER_S = 100
const run = promisify(execFile)

/** Starts a process and waits for its first line that `isReady` accepts. */
export async function startProcess(command, args, isReady, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  let said = ''
  const ready = await new Promise((resolve, reject) => {
    child.stdout.on('data', (data) => {
      said += data
      const found = isReady(said)
      if (found !== undefined) resolve(found)
    })
    child.once('exit', (code) => reject(new Error(`${command} ended with ${code}: ${said}`)))
    child.once('error', reject)
  })
  return {
    pid: child.pid,
    ready,
    /** At once, without a chance to finish anything. */
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** CPU the process has used so far, user and system, in microseconds. */
export function cpuUs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_S) * 1e6
}

export function rssBytes(pid) {
  const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(kib) * 1024
}

/** One run of wrk, with the server's CPU for each request. */
export async function wrk(pid, { url, script, args = [], connections, seconds, threads = 1 }) {
  const before = cpuUs(pid)
  const path = new URL(`wrk/${script}`, import.meta.url).pathname
  const flags = [`-t${threads}`, `-c${connections}`, `-d${seconds}s`, '-s', path, url, '--']
  const { stdout } = await run('wrk', [...flags, ...args.map(String)])
  const line = stdout.split('\n').findLast((text) => text.startsWith('{'))
  const result = JSON.parse(line)
  return {
    perSecond: (result.requests / result.durationUs) * 1e6,
    bytesPerSecond: (result.bytes / result.durationUs) * 1e6,
    cpuUs: (cpuUs(pid) - before) / result.requests,
    errors: result.errors,
    p50Ms: result.p50Us / 1000,
    p99Ms: result.p99Us / 1000,
  }
}

/** Runs `run` and then ends, last first, what it called `own` with. */
export async function owning(run) {
  const owned = []
  try {
    return await run((resource) => {
      if (resource !== undefined) owned.push(resource)
      return resource
    })
  } finally {
    for (const resource of owned.reverse()) await resource[Symbol.asyncDispose]()
  }
}
