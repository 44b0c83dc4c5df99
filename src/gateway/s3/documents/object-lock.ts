import {
  type DefaultRetention,
  type ObjectLockSettings,
  RETENTION_MODES,
} from '../bucket-settings.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { malformed, parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, xmlDocument, xmlElement } from '../xml/xml-writer.ts'

/** As long as S3 allows: a century either way. */
const DAYS_MAX = 36_500
const YEARS_MAX = 100

/**
 * `ObjectLockConfiguration`.
 *
 * @throws {S3Error} MalformedXML: also with days and years, or neither. InvalidArgument: a period
 * below 1 or above 36,500 days or 100 years.
 */
export function readObjectLockConfiguration(body: Uint8Array): ObjectLockSettings {
  const root = parseXml(body, 'ObjectLockConfiguration')
  root.only('ObjectLockEnabled', 'Rule')
  root.requiredChoice('ObjectLockEnabled', ['Enabled'])
  const rule = root.child('Rule')
  if (rule === undefined) return { defaultRetention: undefined }
  rule.only('DefaultRetention')
  return { defaultRetention: readDefaultRetention(rule.requiredChild('DefaultRetention')) }
}

function readDefaultRetention(element: XmlElement): DefaultRetention {
  element.only('Mode', 'Days', 'Years')
  const mode = element.requiredChoice('Mode', RETENTION_MODES)
  const days = readPeriod(element, 'Days', DAYS_MAX)
  const years = readPeriod(element, 'Years', YEARS_MAX)
  if ((days === undefined) === (years === undefined)) {
    throw malformed('exactly one of Days and Years is needed')
  }
  return { mode, days, years }
}

function readPeriod(element: XmlElement, name: string, max: number): number | undefined {
  const limit = Number.MAX_SAFE_INTEGER
  const period = element.integer(name, { min: -limit, max: limit })
  if (period === undefined || (period > 0 && period <= max)) return period
  const message =
    period > max
      ? 'Default retention period too large.'
      : 'Default retention period must be a positive integer value.'
  throw invalidArgument(message, name, String(period))
}

export function writeObjectLockConfiguration(settings: ObjectLockSettings): string {
  const enabled = textElement('ObjectLockEnabled', 'Enabled')
  const { defaultRetention: retention } = settings
  if (retention === undefined) return xmlDocument('ObjectLockConfiguration', enabled)
  const mode = textElement('Mode', retention.mode)
  const days = textElement('Days', retention.days)
  const period = `${mode}${days}${textElement('Years', retention.years)}`
  const rule = xmlElement('Rule', xmlElement('DefaultRetention', period))
  return xmlDocument('ObjectLockConfiguration', `${enabled}${rule}`)
}
