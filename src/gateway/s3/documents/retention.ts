import { RETENTION_MODES, type Retention } from '../bucket-settings.ts'
import { malformed, parseXml } from '../xml/xml-reader.ts'
import { iso8601, textElement, xmlDocument } from '../xml/xml-writer.ts'

/**
 * `Retention`. Undefined: it is empty, which asks to take the retention away. Whether the date lies
 * ahead is the caller's to judge.
 *
 * @throws {S3Error} MalformedXML: also with one of mode and date alone.
 */
export function readRetention(body: Uint8Array): Retention | undefined {
  const root = parseXml(body, 'Retention')
  root.only('Mode', 'RetainUntilDate')
  const mode = root.choice('Mode', RETENTION_MODES)
  const untilMs = root.timeMs('RetainUntilDate')
  if (mode === undefined && untilMs === undefined) return undefined
  if (mode === undefined || untilMs === undefined) {
    throw malformed('Mode and RetainUntilDate are needed together')
  }
  return { mode, untilMs }
}

export function writeRetention(retention: Retention): string {
  const until = textElement('RetainUntilDate', iso8601(retention.untilMs))
  return xmlDocument('Retention', `${textElement('Mode', retention.mode)}${until}`)
}
