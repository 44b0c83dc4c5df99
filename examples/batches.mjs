// Many small files: 64 under way at a time, results in order, each with its own outcome.
// Run it beside `npm start`: node examples/batches.mjs [master, 127.0.0.1:9333]
import { HayloftClient } from 'hayloft'

const COUNT = 5000

function* thumbnails() {
  for (let number = 0; number < COUNT; number++) {
    yield { data: `thumbnail ${number}`, name: `${number}.txt` }
  }
}

const client = await HayloftClient.connect({ masters: process.argv[2] ?? '127.0.0.1:9333' })
try {
  const fileIds = []
  for await (const { value, error } of client.putMany(thumbnails())) {
    if (error === undefined) fileIds.push(value.fileId)
    else console.error(`not stored: ${error.code}`)
  }
  console.log(`stored ${fileIds.length} files, the first as ${fileIds[0]}`)

  let bytes = 0
  for await (const { value } of client.getMany(fileIds)) bytes += value?.data.length ?? 0
  console.log(`read ${bytes} bytes`)

  let deleted = 0
  const options = { isSingleNeedle: true } // We know: none of them is in chunks.
  for await (const { value } of client.deleteMany(fileIds, options)) {
    if (value?.wasLive) deleted++
  }
  console.log(`deleted ${deleted} files`)
} finally {
  await client[Symbol.asyncDispose]()
}
