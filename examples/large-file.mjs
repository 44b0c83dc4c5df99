// Stream a large file in and out: it is stored in chunks of 8 MiB on several volumes, and never
// held in memory as a whole.
// Run it beside `npm start`: node examples/large-file.mjs [master, 127.0.0.1:9333]
import { createHash } from 'node:crypto'
import { HayloftClient } from 'hayloft'

const PIECES = 400
const piece = Buffer.alloc(100_000, 'all work and no play ')

async function* source() {
  for (let count = 0; count < PIECES; count++) yield piece
}

const client = await HayloftClient.connect({ masters: process.argv[2] ?? '127.0.0.1:9333' })
try {
  const { fileId, sizeBytes } = await client.put(source(), { name: 'novel.txt' })
  const { isChunked } = await client.stat(fileId)
  console.log(`stored ${sizeBytes} bytes as ${fileId}, in chunks: ${isChunked}`)

  const sent = createHash('sha256')
  for await (const bytes of source()) sent.update(bytes)
  const received = createHash('sha256')
  for await (const bytes of client.getStream(fileId)) received.update(bytes)
  console.log(`came back the same: ${sent.digest('hex') === received.digest('hex')}`)

  await client.delete(fileId)
  console.log('deleted, with all its chunks')
} finally {
  await client[Symbol.asyncDispose]()
}
