import { Agent, request } from 'undici'
import { LIMITS } from '../../../base/limits.ts'
import { StoreError } from '../../../base/store-error.ts'
import { fromHttpFailure } from '../../../net/http-errors.ts'
import { cancelledError, onAbort } from '../../../runtime/abort.ts'
import type { Clock } from '../../../runtime/clock.ts'
import type { Webhook } from './webhook.ts'

/** Of an answer nothing is used; what is longer costs the connection. */
const ANSWER_BYTES_MAX = 64 * 1024

/** Posts messages to webhooks, over connections that are kept open. */
export class WebhookSender implements AsyncDisposable {
  readonly #clock: Clock
  readonly #agent = new Agent()

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock
  }

  /**
   * Returns when the webhook answered 2xx. Redirects are no such answer, and are not followed.
   * Errors name the webhook, never its URL.
   *
   * @throws {StoreError} TIMEOUT: not answered within `LIMITS.eventTimeoutMs`. PEER_FAILED:
   * answered otherwise. UNAVAILABLE; CANCELLED: `signal`.
   */
  async post({ name, url }: Webhook, message: string, signal: AbortSignal): Promise<void> {
    const timeoutMs = LIMITS.eventTimeoutMs.value
    const ending = new AbortController()
    if (signal.aborted) throw cancelledError(signal, 'before an event was posted')
    using _caller = onAbort(signal, () => ending.abort())
    let isLate = false
    using _timer = this.#clock.after(timeoutMs, () => {
      isLate = true
      ending.abort()
    })
    let status: number
    try {
      status = await this.#send(url, message, ending.signal)
    } catch (cause) {
      if (isLate) throw new StoreError('TIMEOUT', `${name} gave no answer in ${timeoutMs} ms`)
      if (signal.aborted) throw cancelledError(signal, 'while an event was posted')
      throw fromHttpFailure(cause, name)
    }
    if (status >= 200 && status < 300) return
    throw new StoreError('PEER_FAILED', `${name} answered with status ${status}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }

  async #send(text: string, body: string, signal: AbortSignal): Promise<number> {
    const url = new URL(text)
    const { password, username } = url
    url.username = ''
    url.password = ''
    const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
    const answer = await request(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'user-agent': 'Hayloft',
        ...(user !== ':' && { authorization: `Basic ${Buffer.from(user).toString('base64')}` }),
      },
      body,
      signal,
      dispatcher: this.#agent,
    })
    // All of it is read: the connection serves the next event.
    await answer.body.dump({ limit: ANSWER_BYTES_MAX, signal })
    return answer.statusCode
  }
}
