import { formatBytes } from '../base/units.ts'
import type { ClusterHealth } from '../net/jobs-api.ts'
import { formatDuration, formatTime } from './durations.ts'

/** One answer in a line, and below it what is wrong and what is done about it. */
export function healthLines(health: ClusterHealth, nowMs: number): readonly string[] {
  return [
    `${health.color}: ${headline(health, nowMs)}`,
    ...health.doing.map((what) => `  doing: ${what}`),
    ...health.alerts.map(
      ({ code, message, sinceMs }) => `  ${code} for ${agoOf(sinceMs, nowMs)}: ${message}`,
    ),
  ]
}

/** Jobs, past repairs and scrubs, in a line: what `doing` does not say. */
export function choresLine(health: ClusterHealth): string {
  const { jobsRunning, jobsWaiting, jobsFailing, repairTimes } = health
  const jobs = `jobs: ${jobsRunning} running, ${jobsWaiting} waiting, ${jobsFailing} failing`
  const { count, p50Ms, p95Ms } = repairTimes
  const half = `half within ${formatDuration(p50Ms)}, 95 % within ${formatDuration(p95Ms)}`
  const repairs = count === 0 ? 'no repairs so far' : `${countOf(count, 'repair')}, ${half}`
  return `${jobs}; ${repairs}; ${scrubText(health)}`
}

function headline(health: ClusterHealth, nowMs: number): string {
  const { nodesUp, nodesKnown, alerts, color, isWarming } = health
  return [
    // A server without copies may be away while all is well.
    color === 'green' ? 'healthy, every volume has all its copies' : '',
    isWarming ? 'the master waits for its volume servers' : '',
    unavailableText(health),
    belowText(health, nowMs),
    nodesUp < nodesKnown ? `${nodesKnown - nodesUp} of ${nodesKnown} servers are not up` : '',
    alerts.length === 0 ? '' : countOf(alerts.length, 'alert'),
  ]
    .filter((part) => part !== '')
    .join('; ')
}

function unavailableText({ volumesUnavailable, objectsUnavailable }: ClusterHealth): string {
  if (volumesUnavailable === 0) return ''
  const objects = countOf(objectsUnavailable, 'file')
  return `${objects} in ${countOf(volumesUnavailable, 'volume')} cannot be read now`
}

function belowText(health: ClusterHealth, nowMs: number): string {
  const { volumesBelow, objectsBelow, bytesBelow, dirtyNeedles } = health
  if (volumesBelow === 0) return ''
  const since = health.belowSinceMs === 0 ? '' : ` for ${agoOf(health.belowSinceMs, nowMs)}`
  const files = `${countOf(objectsBelow, 'file')} in ${countOf(volumesBelow, 'volume')}`
  const dirty = dirtyNeedles === 0 ? '' : `, ${countOf(dirtyNeedles, 'file')} to be made equal`
  const copying = bytesBelow === 0 ? '' : `, ${formatBytes(bytesBelow)} to copy`
  return `${files} below full redundancy${since}${copying}${dirty}${endText(health, nowMs)}`
}

function endText({ estimatedEndMs, repairBytesPerS }: ClusterHealth, nowMs: number): string {
  if (estimatedEndMs === 0) return ''
  const rate = repairBytesPerS === 0 ? '' : ` at ${formatBytes(repairBytesPerS)}/s`
  const left = formatDuration(estimatedEndMs - nowMs)
  return `, done in about ${left}${rate} (${formatTime(estimatedEndMs)})`
}

function scrubText({ scrubAgeMaxMs, unscrubbedBytes }: ClusterHealth): string {
  const never = unscrubbedBytes === 0 ? '' : `, ${formatBytes(unscrubbedBytes)} not checked yet`
  return `longest without a check ${formatDuration(scrubAgeMaxMs)}${never}`
}

function agoOf(sinceMs: number, nowMs: number): string {
  return formatDuration(nowMs - sinceMs)
}

function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
