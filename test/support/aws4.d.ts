/** What the tests use of it; it has no types of its own. */
declare module 'aws4' {
  interface Request {
    service: string
    region: string
    method: string
    host: string
    path: string
    headers: Record<string, string>
    body?: string
    signQuery?: boolean
  }

  interface Credentials {
    readonly accessKeyId: string
    readonly secretAccessKey: string
  }

  /** Adds what signs it to the request it was given. */
  export function sign(request: Request, credentials: Credentials): Request
}
