import { StoreError } from '../base/store-error.ts'
import { isWebhookName, isWebhookUrl, type Webhook } from '../gateway/s3/events/webhook.ts'

/** As given by flags a list, as from the environment or a settings file text with commas. */
export type WebhookFlag = string | readonly string[]

const FLAG = '--s3-webhook'
/** A URL may have commas: one that ends it has a name behind it. */
const SEPARATOR = /,\s*(?=[A-Za-z0-9_-]+=)/

/** For a flag that may be given more than once: the first takes the place of other settings. */
export function collectFlag(value: string, before: unknown): readonly string[] {
  return Array.isArray(before) ? [...before, value] : [value]
}

/**
 * Whoever reads an error is not to read the password in a URL: only its name is shown.
 *
 * @throws {StoreError} CONFIG_INVALID
 */
export function readWebhooks(flag: WebhookFlag = ''): readonly Webhook[] {
  const texts = typeof flag === 'string' ? flag.split(SEPARATOR) : flag
  const webhooks = texts.filter((text) => text.trim() !== '').map(readWebhook)
  const names = new Set(webhooks.map(({ name }) => name))
  if (names.size === webhooks.length) return webhooks
  throw new StoreError('CONFIG_INVALID', `${FLAG}: each must have a name of its own`)
}

function readWebhook(text: string): Webhook {
  const at = text.indexOf('=')
  const name = text.slice(0, at).trim()
  const url = text.slice(at + 1).trim()
  if (at < 0 || !isWebhookName(name)) {
    const why = 'it must be NAME=URL, the name of letters, digits, - and _, at most 64'
    throw new StoreError('CONFIG_INVALID', `${FLAG}: ${why}`)
  }
  if (!isWebhookUrl(url)) {
    throw new StoreError('CONFIG_INVALID', `${FLAG} ${name}: its URL must be one of http or https`)
  }
  return { name, url }
}
