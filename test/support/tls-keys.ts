import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TlsKeys } from '../../src/net/tls.ts'

/** Why there can be no keys. */
export const opensslMissing = ((): string | undefined => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'openssl is not installed'
  }
})()

/** One for each name, of one authority; good for 127.0.0.1, and for `hosts`. */
export function makeTlsKeys(
  directory: string,
  authority: string,
  names: readonly string[],
  hosts: readonly string[] = [],
): TlsKeys[] {
  const run = (...parameters: string[]): void => {
    execFileSync('openssl', parameters, { cwd: directory, stdio: 'ignore' })
  }
  const request = ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const ca = ['-x509', '-keyout', `${authority}.key`, '-out', `${authority}.pem`]
  run(...request, ...ca, '-subj', `/CN=${authority}`, '-days', '2')
  const alternatives = ['IP:127.0.0.1', ...hosts.map((host) => `DNS:${host}`)].join(',')
  return names.map((name) => {
    const san = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${alternatives}`]
    run(...request, '-keyout', `${name}.key`, '-out', `${name}.csr`, ...san)
    const sign = ['-CA', `${authority}.pem`, '-CAkey', `${authority}.key`, '-CAcreateserial']
    const out = ['-out', `${name}.pem`, '-days', '2', '-copy_extensions', 'copy']
    run('x509', '-req', '-in', `${name}.csr`, ...sign, ...out)
    const read = (file: string): Buffer => readFileSync(join(directory, file))
    return { ca: read(`${authority}.pem`), cert: read(`${name}.pem`), key: read(`${name}.key`) }
  })
}
