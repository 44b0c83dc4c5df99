import { execFile } from 'node:child_process'

export interface HttpCall {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer | string
  /** Of a form with a file in it; instead of `body`. */
  readonly form?: FormFile
}

export interface FormFile {
  readonly field: string
  readonly name: string
  readonly type: string
  readonly data: Buffer | string
}

export interface HttpAnswer {
  readonly status: number
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

/** Asks once, by POST if there is a body; it fails only when there is no whole answer. */
export type HttpClient = (url: string, call?: HttpCall) => Promise<HttpAnswer>

/** The client of Node. */
export const viaFetch: HttpClient = async (url, { body, form, headers = {}, method } = {}) => {
  const sent = form === undefined ? body : formOf(form)
  const chosen = method ?? (sent === undefined ? 'GET' : 'POST')
  const answer = await fetch(url, { method: chosen, headers, body: sent ?? null })
  return {
    status: answer.status,
    headers: new Map(answer.headers),
    body: Buffer.from(await answer.arrayBuffer()),
  }
}

function formOf({ data, field, name, type }: FormFile): FormData {
  const form = new FormData()
  form.append(field, new Blob([data], { type }), name)
  return form
}

const OUTPUT_BYTES_MAX = 64 * 2 ** 20

/** The program, as people type it. */
export const viaCurl: HttpClient = async (url, { body, form, headers = {}, method } = {}) => {
  const args = ['--silent', '--show-error', '--include', '--globoff', '--max-time', '60']
  if (method === 'HEAD') args.push('--head')
  else if (method !== undefined) args.push('--request', method)
  for (const [name, value] of Object.entries(headers)) args.push('--header', `${name}: ${value}`)
  if (form !== undefined) {
    args.push('--form', `${form.field}=@-;filename="${form.name}";type=${form.type}`)
  } else if (body !== undefined) args.push('--data-binary', '@-')
  return parseAnswer(await runWithInput('curl', [...args, url], form?.data ?? body))
}

/** What a program says, given this to read. @throws when its exit code is not 0. */
export function runWithInput(
  command: string,
  args: readonly string[],
  input: Buffer | string = '',
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const options = { encoding: 'buffer', maxBuffer: OUTPUT_BYTES_MAX } as const
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${command} ${args.join(' ')}: ${stderr}`, { cause: error }))
    })
    // It may end before it has read everything.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}

function parseAnswer(bytes: Buffer): HttpAnswer {
  let rest = bytes
  for (;;) {
    const end = rest.indexOf('\r\n\r\n')
    const [first = '', ...lines] = rest.subarray(0, end).toString('latin1').split('\r\n')
    const status = Number(/^HTTP\/\S+ (\d{3})/.exec(first)?.[1])
    if (end < 0 || Number.isNaN(status)) throw new Error(`no HTTP: ${rest.subarray(0, 80)}`)
    rest = rest.subarray(end + 4)
    // The client was told to go on with its body.
    if (status === 100) continue
    const headers = lines.map((line): readonly [string, string] => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
    return { status, headers: new Map(headers), body: rest }
  }
}

export function jsonOf({ body }: HttpAnswer): unknown {
  return JSON.parse(body.toString())
}
