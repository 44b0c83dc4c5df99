// A store in a process of its own, for the benches. Usage: node store-process.mjs OPTIONS-AS-JSON
import { startServer } from '../dist/index.js'

const store = await startServer(JSON.parse(process.argv[2]))
const { masterUrl, restUrl, s3Url, volumeUrls } = store
console.log(JSON.stringify({ masterUrl, restUrl, s3Url, volumeUrls }))
process.once('SIGTERM', () => store[Symbol.asyncDispose]())
