const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

const UNITS: readonly (readonly [ms: number, name: string])[] = [
  [DAY_MS, 'd'],
  [HOUR_MS, 'h'],
  [MINUTE_MS, 'min'],
  [SECOND_MS, 's'],
]

/** For people: `4 min 10 s`, `3 d 2 h`. Two units at most; below a second `0 s`. */
export function formatDuration(ms: number): string {
  const whole = Math.max(0, Math.floor(ms))
  const first = UNITS.findIndex(([unitMs]) => whole >= unitMs)
  const [unitMs, name] = UNITS[first] ?? [SECOND_MS, 's']
  const text = `${Math.floor(whole / unitMs)} ${name}`
  const [nextMs, nextName] = UNITS[first + 1] ?? []
  const rest = nextMs === undefined ? 0 : Math.floor((whole % unitMs) / nextMs)
  return first < 0 || rest === 0 ? text : `${text} ${rest} ${nextName}`
}

/** A point in time, to the second: `2026-11-21T08:31:02Z`. */
export function formatTime(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d{3}Z$/, 'Z')
}
