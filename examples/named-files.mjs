// Files with names of your own, and errors you can act on.
// Run it beside `npm start`: node examples/named-files.mjs [master, 127.0.0.1:9333]
import { HayloftClient, isStoreError } from 'hayloft'

const client = await HayloftClient.connect({ masters: process.argv[2] ?? '127.0.0.1:9333' })
try {
  await client.putNamed('reports/2024/may.txt', 'It rained.')
  await client.putNamed('reports/2024/june.txt', 'It did not.')
  await client.putNamed('reports/2024/may.txt', 'It rained a lot.') // Replaces the first.

  for await (const { name, sizeBytes } of client.listNamed('reports/')) {
    console.log(`${name}: ${sizeBytes} bytes`)
  }
  console.log((await client.getNamed('reports/2024/may.txt')).data.toString())

  await client.deleteNamed('reports/2024/may.txt')
  await client.deleteNamed('reports/2024/june.txt')
  try {
    await client.getNamed('reports/2024/may.txt')
  } catch (error) {
    if (!isStoreError(error, 'NAME_NOT_FOUND')) throw error
    console.log(`gone: ${error.code}`)
  }
} finally {
  await client[Symbol.asyncDispose]()
}
