/** Where events are posted to. */
export interface Webhook {
  /** Settings of buckets name it by this, within an ARN. */
  readonly name: string
  /** May hold a user and a password, and secrets in its query: never to be logged. */
  readonly url: string
}

const NAME_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$/
const ARN_PATTERN = /^arn:hayloft:sqs::([^:]+):webhook$/

/** Letters, digits, `-` and `_`, 1 to 64. */
export function isWebhookName(text: string): boolean {
  return NAME_PATTERN.test(text)
}

export function isWebhookUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

/**
 * What stands for a webhook in the settings of a bucket. Shaped as ARNs of S3's own targets are,
 * since clients check them: `webhook` is where those have the account and the queue's name.
 */
export function webhookArn(name: string): string {
  return `arn:hayloft:sqs::${name}:webhook`
}

/** Undefined: it is the ARN of something else. */
export function webhookOfArn(arn: string): string | undefined {
  const [, name] = ARN_PATTERN.exec(arn) ?? []
  return name !== undefined && isWebhookName(name) ? name : undefined
}
