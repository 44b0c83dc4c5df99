import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import WeedFSClient from 'node-seaweedfs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { ClusterProcesses } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const run = promisify(execFile)

interface Answer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

/** One request by curl, as its users make it. */
async function curl(...args: string[]): Promise<Answer> {
  const options = { encoding: 'buffer', maxBuffer: 2 ** 26 } as const
  const { stdout } = await run('curl', ['-s', '-i', '--path-as-is', ...args], options)
  let rest = stdout
  for (;;) {
    const end = rest.indexOf('\r\n\r\n')
    const [start = '', ...lines] = rest.subarray(0, end).toString('latin1').split('\r\n')
    const status = Number(start.split(' ')[1])
    rest = rest.subarray(end + 4)
    if (status === 100) continue
    const headers = new Map(
      lines.map((line): [string, string] => {
        const colon = line.indexOf(':')
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
      }),
    )
    return { status, headers, body: rest }
  }
}

type Member =
  | 'code'
  | 'count'
  | 'eTag'
  | 'fid'
  | 'fileName'
  | 'fileUrl'
  | 'IsLeader'
  | 'locations'
  | 'publicUrl'
  | 'size'
  | 'url'

function json(answer: Answer): Readonly<Partial<Record<Member, unknown>>> {
  return JSON.parse(answer.body.toString())
}

let owned: DisposeStack
let cluster: ClusterProcesses
let directory: string

beforeAll(async () => {
  owned = new DisposeStack()
  directory = owned.use(await openTempDirectory()).path
  cluster = owned.use(await ClusterProcesses.start({ directory, volumeServers: 1 }))
})

afterAll(async () => {
  await owned[Symbol.asyncDispose]()
})

async function assign(query = ''): Promise<{ fid: string; url: string; count: number }> {
  const answer = await curl(`${cluster.masterUrl}/dir/assign${query}`)
  expect(answer.status, answer.body.toString()).toBe(200)
  const { fid, url, publicUrl, count } = json(answer)
  expect(String(publicUrl)).toMatch(/:\d+$/)
  return { fid: String(fid), url: String(url), count: Number(count) }
}

describe('with curl, as the dialect is used', () => {
  test('assign, multipart upload, lookup, read by all five path shapes, delete', async () => {
    const { fid, url, count } = await assign()
    expect(count).toBe(1)
    expect(fid).toMatch(/^\d+,[0-9a-f]{10,24}$/)
    const file = join(directory, 'photo.txt')
    await writeFile(file, 'a small photograph')
    const put = await curl('-F', `file=@${file}`, `http://${url}/${fid}`)
    expect(put.status).toBe(201)
    expect(json(put)).toMatchObject({ name: 'photo.txt', size: 18 })
    expect(String(json(put).eTag)).toMatch(/^[0-9a-f]{8}$/)

    const [volume = '', key = ''] = fid.split(',')
    for (const query of [`volumeId=${volume}`, `volumeId=${fid}`, `fileId=${fid}`]) {
      const found = await curl(`${cluster.masterUrl}/dir/lookup?${query}`)
      expect(found.status).toBe(200)
      expect(json(found).locations).toMatchObject([{ url }])
    }
    const shapes = [fid, `${fid}.txt`, `${volume}/${key}`, `${volume}/${key}.txt`]
    for (const shape of [...shapes, `${volume}/${key}/other.txt`]) {
      const got = await curl(`http://${url}/${shape}`)
      expect([shape, got.status, got.body.toString()]).toEqual([shape, 200, 'a small photograph'])
      expect(got.headers.get('etag')).toBe(`"${json(put).eTag}"`)
      expect(got.headers.get('content-type')).toContain('text/plain')
      expect(got.headers.get('last-modified')).toBeDefined()
    }
    const named = await curl(`http://${url}/${volume}/${key}/other.txt`)
    expect(named.headers.get('content-disposition')).toContain('other.txt')

    const removed = await curl('-X', 'DELETE', `http://${url}/${fid}`)
    expect(removed.status).toBe(202)
    expect(Number(json(removed).size)).toBeGreaterThan(0)
    expect((await curl(`http://${url}/${fid}`)).status).toBe(404)
    expect((await curl('-X', 'DELETE', `http://${url}/${fid}`)).status).toBe(404)
  })

  test('raw upload, ranges, conditions, HEAD, and unchanged content', async () => {
    const { fid, url } = await assign()
    const address = `http://${url}/${fid}`
    const mime = ['-H', 'Content-Type: image/x-test']
    const put = await curl('-X', 'PUT', '--data-binary', '0123456789', ...mime, address)
    expect(put.status).toBe(201)
    const etag = `"${json(put).eTag}"`
    const again = await curl('-X', 'PUT', '--data-binary', '0123456789', ...mime, address)
    expect(again.status).toBe(204)

    const part = await curl('-r', '2-4', address)
    expect([part.status, part.body.toString()]).toEqual([206, '234'])
    expect(part.headers.get('content-range')).toBe('bytes 2-4/10')
    expect((await curl('-r', '-3', address)).body.toString()).toBe('789')
    expect((await curl('-r', '7-', address)).body.toString()).toBe('789')
    expect((await curl('-r', '20-', address)).status).toBe(416)
    const several = await curl('-r', '0-1,8-9', address)
    expect(several.status).toBe(206)
    expect(several.headers.get('content-type')).toContain('multipart/byteranges')

    expect((await curl('-H', `If-None-Match: ${etag}`, address)).status).toBe(304)
    expect((await curl('-H', 'If-None-Match: "00000000"', address)).status).toBe(200)
    const since = 'If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT'
    expect((await curl('-H', since, address)).status).toBe(304)

    const head = await curl('-I', address)
    expect(head.status).toBe(200)
    expect(head.headers.get('content-length')).toBe('10')
    expect(head.headers.get('content-type')).toBe('image/x-test')
    expect(head.headers.get('accept-ranges')).toBe('bytes')
    expect(head.body.length).toBe(0)
  })

  test('count=5 gives fid to fid_4, each its own file', async () => {
    const { fid, url, count } = await assign('?count=5')
    expect(count).toBe(5)
    for (let n = 0; n < 5; n++) {
      const address = `http://${url}/${fid}${n === 0 ? '' : `_${n}`}`
      expect((await curl('-F', `file=file ${n};filename=n`, address)).status).toBe(201)
    }
    for (let n = 0; n < 5; n++) {
      const got = await curl(`http://${url}/${fid}${n === 0 ? '' : `_${n}`}`)
      expect(got.body.toString()).toBe(`file ${n}`)
    }
  })

  test('one step: /submit, then the redirect of the master', async () => {
    const put = await curl('-F', 'file=one step;filename=s.txt', `${cluster.masterUrl}/submit`)
    expect(put.status).toBe(201)
    const { fid, fileUrl, size, fileName } = json(put)
    expect([size, fileName]).toEqual([8, 's.txt'])
    expect((await curl(`http://${fileUrl}`)).body.toString()).toBe('one step')
    const redirect = await curl(`${cluster.masterUrl}/${fid}`)
    expect(redirect.status).toBe(308)
    expect(redirect.headers.get('location')).toContain(String(fid))
    const followed = await run('curl', ['-s', '-L', `${cluster.masterUrl}/${fid}`])
    expect(followed.stdout).toBe('one step')
  })

  test('gzip in, and out as the reader wants it', async () => {
    const { fid, url } = await assign()
    const text = 'the same line again and again\n'.repeat(200)
    const file = join(directory, 'log.txt')
    await writeFile(file, text)
    const put = await curl('-F', `file=@${file}`, `http://${url}/${fid}`)
    expect(json(put).size).toBe(text.length)
    expect((await curl(`http://${url}/${fid}`)).body.toString()).toBe(text)
    const zipped = await curl('-H', 'Accept-Encoding: gzip', `http://${url}/${fid}`)
    expect(zipped.headers.get('content-encoding')).toBe('gzip')
    expect(zipped.body.length).toBeLessThan(text.length / 4)
    const { stdout } = await run('curl', ['-s', '--compressed', `http://${url}/${fid}`])
    expect(stdout).toBe(text)
  })

  test('pairs come back as headers', async () => {
    const { fid, url } = await assign()
    const address = `http://${url}/${fid}`
    await curl('-X', 'PUT', '-H', 'Seaweed-Owner: anna', '--data-binary', 'x', address)
    expect((await curl(address)).headers.get('owner')).toBe('anna')
  })

  test('status pages of both servers', async () => {
    const { url } = await assign()
    const dir = json(await curl(`${cluster.masterUrl}/dir/status`))
    expect(JSON.stringify(dir)).toContain(url)
    expect(json(await curl(`${cluster.masterUrl}/cluster/status`)).IsLeader).toBe(true)
    expect(json(await curl(`${cluster.masterUrl}/vol/status`))).toHaveProperty('Volumes')
    expect(json(await curl(`http://${url}/status`))).toHaveProperty('DiskStatuses')
    const metrics = (await curl(`http://${url}/metrics`)).body.toString()
    expect(metrics).toMatch(/^# TYPE \w+ (counter|gauge)$/m)
    for (const path of ['healthz', 'readyz']) {
      expect((await curl(`http://${url}/${path}`)).status).toBe(200)
      expect((await curl(`${cluster.masterUrl}/${path}`)).status).toBe(200)
    }
  })

  test('named files: put, overwrite, redirect, proxy, delete', async () => {
    const address = `${cluster.masterUrl}/some/name.txt`
    const file = join(directory, 'named.txt')
    await writeFile(file, 'first')
    const put = await curl('-T', file, address)
    expect([put.status, put.body.toString()]).toEqual([201, 'some/name.txt'])
    const { stdout: first } = await run('curl', ['-s', '-L', address])
    expect(first).toBe('first')
    expect((await curl('-X', 'PUT', '-d', 'second', address)).status).toBe(201)
    const redirect = await curl(address)
    expect(redirect.status).toBe(302)
    expect((await curl(String(redirect.headers.get('location')))).body.toString()).toBe('second')
    const proxied = await curl(`${address}?proxy=true`)
    expect([proxied.status, proxied.body.toString()]).toEqual([200, 'second'])
    expect((await curl('-X', 'DELETE', address)).status).toBe(204)
    expect((await curl(address)).status).toBe(404)
    expect((await curl('-X', 'DELETE', address)).status).toBe(404)
  })

  test.each([
    ['a path that is no file id', '/nonsense', 400],
    ['a cookie that is too short', '/3,01', 400],
    ['a file id with letters beyond f', '/3,01zz7037d6', 400],
    ['volume 0', '/0,01637037d6', 400],
    ['a volume that is nowhere', '/4000000,01637037d6', 404],
    ['a path that climbs out', '/../../etc/passwd', 400],
    ['the same, encoded', '/%2e%2e/%2e%2e/etc/passwd', 400],
    ['two slashes', '//3,01637037d6', 400],
    ['a NUL', '/3,01637037d6%00.jpg', 400],
  ])('%s: a 4xx with a code', async (_, path, status) => {
    const { url } = await assign()
    const answer = await curl(`http://${url}${path}`)
    expect([answer.status, answer.body.toString()]).toEqual([status, expect.any(String)])
    expect(json(answer).code).toMatch(/^[A-Z_]+$/)
  })

  test('a wrong cookie: 404 on read, 400 on write and delete, nothing changed', async () => {
    const { fid, url } = await assign()
    await curl('-X', 'PUT', '--data-binary', 'mine', `http://${url}/${fid}`)
    const wrong = `http://${url}/${fid.slice(0, -1)}${fid.endsWith('0') ? '1' : '0'}`
    expect((await curl(wrong)).status).toBe(404)
    expect((await curl('-X', 'PUT', '--data-binary', 'yours', wrong)).status).toBe(400)
    expect((await curl('-X', 'DELETE', wrong)).status).toBe(400)
    expect((await curl(`http://${url}/${fid}`)).body.toString()).toBe('mine')
  })
})

describe('with a client of SeaweedFS from npm', () => {
  test('writes, finds, reads and removes', async () => {
    const client = new WeedFSClient({ server: '127.0.0.1', port: cluster.masterPort })
    const written = await client.write(Buffer.from('from the client'))
    expect((await client.find(written.fid)).locations.length).toBe(1)
    expect((await client.read(written.fid)).toString()).toBe('from the client')
    await client.remove(written.fid)
    await expect(client.read(written.fid)).rejects.toThrow('not found')
  })

  test('writes three files at once, one of them from a path', async () => {
    const client = new WeedFSClient({ server: '127.0.0.1', port: cluster.masterPort })
    const file = join(directory, 'third.bin')
    await writeFile(file, Buffer.alloc(100_000, 7))
    const { fid, count } = await client.write([Buffer.from('one'), Buffer.from('two'), file])
    expect(count).toBe(3)
    expect((await client.read(fid)).toString()).toBe('one')
    expect((await client.read(`${fid}_1`)).toString()).toBe('two')
    expect((await client.read(`${fid}_2`)).equals(Buffer.alloc(100_000, 7))).toBe(true)
  })

  test('sees the state of master, system and volume server', async () => {
    const client = new WeedFSClient({ server: '127.0.0.1', port: cluster.masterPort })
    expect((await client.masterStatus()).IsLeader).toBe(true)
    expect((await client.systemStatus()).Topology).toBeDefined()
    const { url } = await assign()
    expect((await client.volumeStatus(url)).Volumes.length).toBeGreaterThan(0)
  })
})
