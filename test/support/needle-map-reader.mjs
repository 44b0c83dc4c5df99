// Looks up what another thread puts into a needle map, while it does. Runs on the compiled program.
import { parentPort } from 'node:worker_threads'
import { HashNeedleMapView } from '../../dist/storage/hash-needle-map-view.js'

const port = parentPort
const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
let progress
let view
let isOver = false
let next = 0
const result = { lookups: 0, stale: 0, wrong: 0, highest: 0 }

port.on('message', (message) => {
  if (message.progress !== undefined) progress = new Int32Array(message.progress)
  if (message.state !== undefined) view = new HashNeedleMapView(message.state)
  if (message.isOver === true) isOver = true
  if (next === 0) setImmediate(look)
  next = 1
})

/** Ids 1 … progress were put before: each must be found, at 8 times its number. */
function look() {
  for (let i = 0; i < 1000; i++) {
    const count = Atomics.load(progress, 0)
    if (count === 0) break
    const lo = 1 + ((result.lookups * 7919) % count)
    const isFound = view.lookup({ hi: 5, lo }, location)
    if (isFound === undefined) {
      result.stale++
      port.postMessage({ isStale: true })
      break
    }
    result.lookups++
    result.highest = Math.max(result.highest, lo)
    if (!isFound || location.offsetBytes !== lo * 8 || location.sizeBytes !== lo) result.wrong++
    if (view.lookup({ hi: 6, lo }, location) === true) result.wrong++
  }
  if (isOver && !view.isStale) port.postMessage({ result })
  else setImmediate(look)
}
