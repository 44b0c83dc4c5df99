import { execFileSync } from 'node:child_process'

/** Real-process tests run what users run: the compiled program. Builds it once per test run. */
export default function buildProgram(): void {
  execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' })
}
