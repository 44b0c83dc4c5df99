import { createSecureContext } from 'node:tls'
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js'
import { StoreError } from '../base/store-error.ts'

/** PEM bytes. Both sides show a certificate of `ca` and refuse others. */
export interface TlsKeys {
  readonly ca: Buffer
  readonly cert: Buffer
  readonly key: Buffer
}

/** PEM bytes of what a server shows to anybody. */
export interface ServerCertificate {
  /** With those of the authorities between it and one that clients know. */
  readonly cert: Buffer
  readonly key: Buffer
}

/** Plain text without keys. @throws {StoreError} CONFIG_INVALID: the keys cannot be used. */
export function serverCredentials(tls: TlsKeys | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure()
  return whileUsable(tls, () =>
    ServerCredentials.createSsl(tls.ca, [{ private_key: tls.key, cert_chain: tls.cert }], true),
  )
}

/** Plain text without keys. @throws {StoreError} CONFIG_INVALID: the keys cannot be used. */
export function channelCredentials(tls: TlsKeys | undefined): ChannelCredentials {
  if (tls === undefined) return ChannelCredentials.createInsecure()
  return whileUsable(tls, () => ChannelCredentials.createSsl(tls.ca, tls.key, tls.cert))
}

/** @throws {StoreError} CONFIG_INVALID: the certificate or its key cannot be used. */
export function whileUsable<Result>(certificate: ServerCertificate, use: () => Result): Result {
  try {
    // The library would find out when the first peer connects.
    createSecureContext(certificate)
    return use()
  } catch (cause) {
    throw new StoreError('CONFIG_INVALID', 'the TLS certificate or key cannot be used', { cause })
  }
}
