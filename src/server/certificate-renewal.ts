import type { ServerCertificate } from '../net/tls.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'

/** Where a certificate is kept, and renewed before it ends. */
export interface CertificateSource {
  read(): Promise<ServerCertificate>
}

export interface RenewalParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly source: CertificateSource
  /** Throws for one that cannot be used. */
  readonly use: (certificate: ServerCertificate) => void
}

/** Certificates are renewed days before they end. */
const LOOK_MS = 60_000

/**
 * Puts a renewed certificate into use without a restart: looks each minute whether there is another
 * one. While what lies there is only half written, or of no use, the one before stays.
 */
export class CertificateRenewal implements Disposable {
  readonly #parts: RenewalParts
  #used: ServerCertificate
  #hasFailed = false
  #next: Disposable | undefined
  #isDisposed = false

  constructor(parts: RenewalParts, used: ServerCertificate) {
    this.#parts = parts
    this.#used = used
  }

  start(): void {
    this.#next = this.#parts.clock.after(LOOK_MS, () => void this.#look())
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true
    this.#next?.[Symbol.dispose]()
  }

  async #look(): Promise<void> {
    const { logger, source, use } = this.#parts
    try {
      const found = await source.read()
      if (this.#isDisposed) return
      const isSame = found.cert.equals(this.#used.cert) && found.key.equals(this.#used.key)
      if (!isSame) {
        use(found)
        this.#used = found
        logger.info('s3.certificate_renewed')
      }
      this.#hasFailed = false
    } catch (error) {
      // Once, not each minute.
      if (!this.#hasFailed) logger.warn('s3.certificate_kept', { error })
      this.#hasFailed = true
    }
    if (!this.#isDisposed) this.start()
  }
}
