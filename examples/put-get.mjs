// Store a file, read it, read a part of it, delete it.
// Run it beside `npm start`: node examples/put-get.mjs [master, 127.0.0.1:9333]
import { HayloftClient } from 'hayloft'

const client = await HayloftClient.connect({ masters: process.argv[2] ?? '127.0.0.1:9333' })
try {
  const { fileId, eTag } = await client.put('Hello, haystack!', {
    name: 'hello.txt',
    mime: 'text/plain',
    pairs: { Author: 'me' },
  })
  console.log(`stored as ${fileId} with checksum ${eTag}: it is on disk now`)

  const file = await client.get(fileId)
  console.log(`${file.name} (${file.mime}): ${file.data}`)

  const part = await client.get(fileId, { range: { start: 7, end: 15 } })
  console.log(`bytes 7 to 15: ${part.data}`)

  const { wasLive } = await client.delete(fileId)
  console.log(`deleted: ${wasLive}`)
} finally {
  await client[Symbol.asyncDispose]()
}
