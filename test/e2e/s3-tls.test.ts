import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { Agent } from 'node:https'
import { type AddressInfo, connect, type LookupFunction, type Socket } from 'node:net'
import { join } from 'node:path'
import {
  CreateBucketCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { sign } from 'aws4'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { skipLoudly } from '../support/mounts.ts'
import { Prng } from '../support/prng.ts'
import { S3_KEY, S3_KEY_ENV, S3_REGION } from '../support/s3-endpoint.ts'
import { findTools, S3Tools, toolMissing } from '../support/s3-tools.ts'
import { freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { makeTlsKeys, opensslMissing } from '../support/tls-keys.ts'

// Goal: clients reach S3 over HTTPS, with buckets in host names, and trust what they verify.
// Method: real clients before a real server; its names lead to 127.0.0.1 by each client's own
// means, since no name service knows them.

const MIB = 2 ** 20
const DOMAIN = 's3.hayloft.test'
const Bucket = 'in-the-host'
/** Most clients do not put it into the host by themselves: a wildcard does not cover it. */
const DOTTED = 'with.a-dot'
const body = new Prng(2).bytes(12 * MIB)

let owned: DisposeStack
let directory: string
let caFile: string
let port: number
let endpoint: string
let sdk: S3Client
let server: ServerProcess

const CERTIFIED = [DOMAIN, `*.${DOMAIN}`, `${DOTTED}.${DOMAIN}`]
const HOSTS = [DOMAIN, `${Bucket}.${DOMAIN}`, `${DOTTED}.${DOMAIN}`]

const lookupHere: LookupFunction = (_host, options, callback) => {
  if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }])
  else callback(null, '127.0.0.1', 4)
}

describe.skipIf(skipLoudly('HTTPS', opensslMissing))('S3 over HTTPS', () => {
  beforeAll(async () => {
    owned = new DisposeStack()
    directory = owned.use(await openTempDirectory()).path
    const [keys] = makeTlsKeys(directory, 'authority', ['server'], CERTIFIED)
    caFile = join(directory, 'authority.pem')
    const [master = 0, volume = 0, s3 = 0] = await freePorts(3)
    const ports = ['--port', `${master}`, '--volume-port', `${volume}`, '--s3-port', `${s3}`]
    const tls = ['--s3-tls-cert', join(directory, 'server.pem')]
    tls.push('--s3-tls-key', join(directory, 'server.key'), '--s3-domains', DOMAIN)
    server = owned.use(
      await ServerProcess.start({
        args: ['server', '--dir', join(directory, 'data'), ...ports, ...tls],
        env: S3_KEY_ENV,
        readyUrl: `http://127.0.0.1:${volume}/readyz`,
      }),
    )
    port = s3
    endpoint = `https://${DOMAIN}:${port}`
    const agent = new Agent({ ca: keys?.ca ?? '', lookup: lookupHere })
    sdk = new S3Client({
      endpoint,
      region: S3_REGION,
      credentials: S3_KEY,
      requestHandler: { httpsAgent: agent },
    })
    owned.defer(() => sdk.destroy())
    await sdk.send(new CreateBucketCommand({ Bucket }))
    await sdk.send(new CreateBucketCommand({ Bucket: DOTTED }))
  })

  afterAll(async () => {
    await owned[Symbol.asyncDispose]()
  })

  function curl(...args: string[]): Promise<string> {
    const resolved = HOSTS.flatMap((host) => ['--resolve', `${host}:${port}:127.0.0.1`])
    const tools = new S3Tools(endpoint, directory)
    return tools.run('curl', ['-sS', '--cacert', caFile, ...resolved, ...args])
  }

  test('it says where it is', () => {
    expect(server.said).toContain(`  s3       https://127.0.0.1:${port}  (root key: `)
  })

  test('the AWS SDK puts, uploads in parts, lists and gets, with the bucket in the host', async () => {
    const hosts: unknown[] = []
    sdk.middlewareStack.add(
      (next) => (args) => {
        hosts.push((args.request as { hostname?: string }).hostname)
        return next(args)
      },
      { step: 'finalizeRequest', name: 'hosts' },
    )
    const Key = 'a b/ü+%'
    await sdk.send(new PutObjectCommand({ Bucket, Key, Body: body.subarray(0, MIB) }))
    await new Upload({ client: sdk, params: { Bucket, Key: 'parts', Body: body } }).done()
    const { Contents } = await sdk.send(new ListObjectsV2Command({ Bucket }))
    expect(Contents?.map(({ Key: name, Size }) => [name, Size])).toEqual([
      [Key, MIB],
      ['parts', body.length],
    ])
    for (const [name, expected] of [
      [Key, body.subarray(0, MIB)],
      ['parts', body],
    ] as const) {
      const { Body } = await sdk.send(new GetObjectCommand({ Bucket, Key: name }))
      const bytes = Buffer.from((await Body?.transformToByteArray()) ?? [])
      expect(bytes.equals(expected), name).toBe(true)
    }
    expect(new Set(hosts)).toEqual(new Set([`${Bucket}.${DOMAIN}`]))
  })

  test('a client that does not know the authority refuses the certificate', async () => {
    const agent = new Agent({ lookup: lookupHere })
    const stranger = new S3Client({
      endpoint,
      region: S3_REGION,
      credentials: S3_KEY,
      maxAttempts: 1,
      requestHandler: { httpsAgent: agent },
    })
    const refused = stranger.send(new HeadBucketCommand({ Bucket }))
    await expect(refused).rejects.toThrow(/certificate/)
    stranger.destroy()
  })

  test('URLs that the AWS SDK and aws4 sign for a bucket in the host work with curl', async () => {
    if (skipLoudly('curl', toolMissing('curl'))) return
    const file = join(directory, 'signed.bin')
    await writeFile(file, body.subarray(0, 70_000))
    const put = await getSignedUrl(sdk, new PutObjectCommand({ Bucket, Key: 'signed' }))
    expect(new URL(put).host).toBe(`${Bucket}.${DOMAIN}:${port}`)
    expect(await curl('-f', '-T', file, put)).toBe('')
    const get = await getSignedUrl(sdk, new GetObjectCommand({ Bucket, Key: 'signed' }))
    const byAws4 = sign(
      {
        service: 's3',
        region: S3_REGION,
        method: 'GET',
        host: `${Bucket}.${DOMAIN}:${port}`,
        path: '/signed?X-Amz-Expires=60',
        headers: {},
        signQuery: true,
      },
      S3_KEY,
    )
    for (const url of [get, `https://${byAws4.host}${byAws4.path}`]) {
      const copy = join(directory, 'copy.bin')
      await curl('-f', '-o', copy, url)
      expect((await readFile(copy)).equals(body.subarray(0, 70_000))).toBe(true)
      const forged = url.replace(/X-Amz-Signature=../, '$&00')
      expect(await curl(forged)).toContain('<Code>SignatureDoesNotMatch</Code>')
      // The same signature is not for the bucket in the path: host and path are signed.
      const otherHost = url.replace(`${Bucket}.${DOMAIN}:${port}/`, `${DOMAIN}:${port}/${Bucket}/`)
      expect(await curl(otherHost)).toContain('<Code>SignatureDoesNotMatch</Code>')
    }
  })

  test('curl signs in the header by itself, in both styles', async () => {
    if (skipLoudly('curl', toolMissing('curl'))) return
    await sdk.send(new PutObjectCommand({ Bucket, Key: 'plain', Body: 'hello' }))
    await sdk.send(new PutObjectCommand({ Bucket: DOTTED, Key: 'plain', Body: 'dots' }))
    const { accessKeyId, secretAccessKey } = S3_KEY
    const key = ['--user', `${accessKeyId}:${secretAccessKey}`]
    // This version of curl does not send the hash of the body by itself.
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    const signing = [
      '--aws-sigv4',
      `aws:amz:${S3_REGION}:s3`,
      '-H',
      `x-amz-content-sha256: ${empty}`,
    ]
    const asked = [...key, ...signing]
    expect(await curl(...asked, `https://${Bucket}.${DOMAIN}:${port}/plain`)).toBe('hello')
    expect(await curl(...asked, `${endpoint}/${Bucket}/plain`)).toBe('hello')
    expect(await curl(...asked, `https://${DOTTED}.${DOMAIN}:${port}/plain`)).toBe('dots')
    expect(await curl(`${endpoint}/${Bucket}/plain`)).toContain('<Code>AccessDenied</Code>')
  })

  test('a policy may demand TLS: aws:SecureTransport is true', async () => {
    if (skipLoudly('curl', toolMissing('curl'))) return
    const statement = {
      Effect: 'Allow',
      Principal: '*',
      Action: 's3:GetObject',
      Resource: `arn:aws:s3:::${Bucket}/open`,
      Condition: { Bool: { 'aws:SecureTransport': 'true' } },
    }
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] })
    await sdk.send(new PutObjectCommand({ Bucket, Key: 'open', Body: 'to all' }))
    await sdk.send(new PutBucketPolicyCommand({ Bucket, Policy }))
    expect(await curl(`${endpoint}/${Bucket}/open`)).toBe('to all')
    // Nobody is trusted to say that it is none.
    const claims = ['-H', 'X-Forwarded-Proto: http', '-H', 'X-Forwarded-For: 10.0.0.1']
    expect(await curl(...claims, `${endpoint}/${Bucket}/open`)).toBe('to all')
  })

  test('the health page is there, and plain HTTP is not', async () => {
    if (skipLoudly('curl', toolMissing('curl'))) return
    expect(await curl('-f', `https://127.0.0.1:${port}/_hayloft/health`)).toBe('ok\n')
    await expect(fetch(`http://127.0.0.1:${port}/_hayloft/health`)).rejects.toThrow()
  })

  describe('the AWS CLI', () => {
    let proxyUrl: string
    let tunnelled: Set<string>
    const sockets = new Set<Socket>()

    beforeAll(async () => {
      tunnelled = new Set()
      const proxy = createServer()
      proxy.on('connect', (request: IncomingMessage, near: Socket) => {
        tunnelled.add(request.url ?? '')
        const far = connect(port, '127.0.0.1', () => {
          near.write('HTTP/1.1 200 OK\r\n\r\n')
          near.pipe(far).pipe(near)
        })
        for (const socket of [near, far]) sockets.add(socket.on('error', () => undefined))
      })
      await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
      proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
      owned.defer(() => {
        for (const socket of sockets) socket.destroy()
        proxy.close()
      })
    })

    test.each(['virtual', 'path'])('copies there and back in %s style', async (style) => {
      const [aws] = findTools('aws')
      if (aws === undefined) return void skipLoudly('aws', 'needs aws')
      const home = join(directory, `aws-${style}`)
      await mkdir(join(home, '.aws'), { recursive: true })
      const config = `[default]\ns3 =\n  addressing_style = ${style}\n`
      await writeFile(join(home, '.aws', 'config'), config)
      const env = { AWS_CA_BUNDLE: caFile, HTTPS_PROXY: proxyUrl }
      const tools = new S3Tools(endpoint, home, env)
      const file = join(home, 'file.bin')
      const copy = join(home, 'copy.bin')
      await writeFile(file, body)
      // Without dots: of `a.b.DOMAIN` these clients go back to path style by themselves.
      const bucket = `of-aws-${style}`
      await tools.aws(aws, 's3', 'mb', `s3://${bucket}`)
      tunnelled.clear()
      await tools.aws(aws, 's3', 'cp', file, `s3://${bucket}/a b/file`)
      await tools.aws(aws, 's3', 'cp', `s3://${bucket}/a b/file`, copy)
      expect((await readFile(copy)).equals(body)).toBe(true)
      const host = style === 'virtual' ? `${bucket}.${DOMAIN}` : DOMAIN
      expect([...tunnelled]).toEqual([`${host}:${port}`])
      const presigned = await tools.aws(aws, 's3', 'presign', `s3://${bucket}/a b/file`)
      expect(new URL(presigned.trim()).host).toBe(`${host}:${port}`)
    })
  })
})
