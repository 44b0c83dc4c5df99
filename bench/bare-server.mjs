// The floor: a node:http server that answers so many bytes from memory, and throws bodies away.
// Usage: node bare-server.mjs [BYTES]
import { createServer } from 'node:http'

const bytes = Number(process.argv[2] ?? 1024)
const body = Buffer.alloc(bytes, 'x')
const server = createServer((req, res) => {
  if (req.method === 'GET') {
    res.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': bytes })
    res.end(body)
    return
  }
  req.on('data', () => undefined)
  req.on('end', () => {
    res.writeHead(201, { 'Content-Length': 2 })
    res.end('ok')
  })
})
server.keepAliveTimeout = 65_000
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
