/** What a thread of `HashThreads` runs. */
import { parentPort } from 'node:worker_threads'
import { assert } from '../../../base/assert.ts'
import { serveHashes } from './hash-service.ts'

assert(parentPort !== null, 'a hash thread is started by the gateway')
serveHashes(parentPort)
