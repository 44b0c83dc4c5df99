import { S3Error } from './s3-error.ts'

/** An answer does not grow with what was wrong in the request. */
const SHOWN_LENGTH_MAX = 200

export function invalidArgument(message: string, name: string, value: string): S3Error {
  return new S3Error('InvalidArgument', message, {
    fields: { ArgumentName: name, ArgumentValue: cutText(value) },
  })
}

/** The beginning of a text that came with a request, to be shown in an error. */
export function cutText(text: string): string {
  return text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text
}
