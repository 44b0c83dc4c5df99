/** Shared by the benches: rounds in turn, medians, one line per figure with its gate. */

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Runs the named measurements in turn, A B A B …, and returns the median of each. */
export async function interleave(rounds, measurements) {
  const values = Object.fromEntries(Object.keys(measurements).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(measurements)) values[name].push(await run(round))
  }
  return Object.fromEntries(Object.entries(values).map(([name, all]) => [name, median(all)]))
}

const missed = []

/** `gate` is `{ atLeast }` or `{ atMost }`; a miss is printed, it never fails the run. */
export function report(name, figure, gate) {
  const isMet = gate === undefined || (gate.atLeast ?? -Infinity) <= figure.value
  const isBelow = gate === undefined || figure.value <= (gate.atMost ?? Infinity)
  const goal =
    gate === undefined ? '' : gate.atLeast !== undefined ? `≥ ${gate.atLeast}` : `≤ ${gate.atMost}`
  const verdict = gate === undefined ? '' : isMet && isBelow ? 'ok' : 'SHORT'
  if (verdict === 'SHORT') missed.push(name)
  const shown = `${figure.value.toFixed(2)} ${figure.unit}`
  console.log(
    name.padEnd(46),
    shown.padStart(16),
    goal.padEnd(8),
    verdict.padEnd(5),
    figure.detail ?? '',
  )
}

export function summarize() {
  if (missed.length === 0) console.log('\nall goals met')
  else console.log(`\nshort of the goal: ${missed.join(', ')}`)
}

export const perSecond = (count, ms) => (count / ms) * 1000
export const thousands = (value) => `${(value / 1000).toFixed(1)}k`
