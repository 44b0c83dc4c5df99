// The floor: a node:http server that answers 1 KiB from memory and throws bodies away.
import { createServer } from 'node:http'

const body = Buffer.alloc(1024, 'x')
const server = createServer((req, res) => {
  if (req.method === 'GET') {
    res.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': 1024 })
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
