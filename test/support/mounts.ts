import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const runFile = promisify(execFile)

const BUSY_TRIES_MAX = 50
const BUSY_WAIT_MS = 100

/** Reads a line when all is well; the end of its input means that the tests died. */
const GUARD_SCRIPT =
  'read -r _ || { umount --lazy "$1" && rm -rf --one-file-system "$(dirname "$1")"; }'

/** What is mounted now, each with the process that unmounts it if this one dies. */
const guards = new Map<string, ChildProcess>()

/** Why mounting is not possible here: not Linux, not root, or a tool is missing. */
export function mountingUnsupported(tools: readonly string[]): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux'
  if (process.getuid?.() !== 0) return 'needs root'
  const missing = ['mount', 'umount', ...tools].filter((tool) => !isInPath(tool))
  return missing.length > 0 ? `needs ${missing.join(', ')}` : undefined
}

/** True when a test cannot run here, after saying so: a silent skip looks like a pass. */
export function skipLoudly(what: string, reason: string | undefined): boolean {
  if (reason !== undefined) console.warn(`SKIPPED: ${what}: ${reason}`)
  return reason !== undefined
}

export async function run(command: string, ...parameters: string[]): Promise<void> {
  await runFile(command, parameters, { env: { ...process.env, PATH: searchPath() } })
}

/**
 * Mounts at `mounted` in `directory`, a temporary one. If this process dies before `unmount`, even
 * by kill -9, a guard process unmounts it and removes the directory.
 */
export async function mountIn(directory: string, ...parameters: string[]): Promise<string> {
  const mountPoint = join(directory, 'mounted')
  await mkdir(mountPoint, { recursive: true })
  const guard = spawn('sh', ['-c', GUARD_SCRIPT, 'sh', mountPoint], {
    detached: true, // An interrupt from the keyboard must not reach it.
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.unref()
  try {
    await run('mount', ...parameters, mountPoint)
  } catch (error) {
    guard.stdin.end('never mounted\n')
    throw error
  }
  guards.set(mountPoint, guard)
  return mountPoint
}

/** Waits a few seconds for processes that still have files open there. */
export async function unmount(mountPoint: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await run('umount', mountPoint)
      break
    } catch (error) {
      if (tries >= BUSY_TRIES_MAX || !String(error).includes('busy')) throw error
      await new Promise((resolve) => setTimeout(resolve, BUSY_WAIT_MS))
    }
  }
  dismissGuard(mountPoint)
}

/** For cleaning up: nothing stays mounted, whatever is still open there. */
export async function unmountForSure(mountPoint: string): Promise<void> {
  if (!guards.has(mountPoint)) return
  try {
    await run('umount', mountPoint)
  } catch {
    await run('umount', '--lazy', mountPoint) // Goes for good when the last file is closed.
  }
  dismissGuard(mountPoint)
}

function dismissGuard(mountPoint: string): void {
  guards.get(mountPoint)?.stdin?.end('unmounted\n')
  guards.delete(mountPoint)
}

function isInPath(tool: string): boolean {
  return searchPath()
    .split(delimiter)
    .some((directory) => {
      try {
        accessSync(join(directory, tool), constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** Tools for administrators are often outside an ordinary PATH. */
function searchPath(): string {
  const { PATH = '' } = process.env
  return [PATH, '/usr/sbin', '/sbin'].join(delimiter)
}
