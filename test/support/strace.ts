import { execFileSync } from 'node:child_process'

/** Why system calls cannot be traced and made to fail here, or undefined when they can. */
export function straceUnsupported(): string | undefined {
  try {
    execFileSync('strace', ['-qq', '-o', '/dev/null', '-e', 'trace=fdatasync', 'true'], {
      stdio: 'ignore',
    })
    return undefined
  } catch {
    return 'needs strace and the right to trace'
  }
}
