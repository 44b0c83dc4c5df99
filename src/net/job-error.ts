import { ERROR_CODES, type ErrorCode, StoreError } from '../base/store-error.ts'

/** What an attempt of a job failed with, from the text that its view has of it. */
export function jobError(what: string, text: string): StoreError {
  const [, word = '', message = text] = /^([A-Z_]+): ([\s\S]*)$/.exec(text) ?? []
  const code = (Object.keys(ERROR_CODES) as ErrorCode[]).find((known) => known === word)
  return new StoreError(code ?? 'UNAVAILABLE', `${what}: ${code === undefined ? text : message}`)
}
