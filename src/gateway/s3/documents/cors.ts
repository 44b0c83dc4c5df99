import { quote } from '../../../base/store-error.ts'
import type { CorsRule } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { malformed, parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, textElements, xmlDocument } from '../xml/xml-writer.ts'

/** As S3 allows them. Source: the S3 user guide, "Elements of a CORS configuration". */
const RULES_MAX = 100
const ID_LENGTH_MAX = 255
const AGE_SECONDS_MAX = 2 ** 31 - 1
const METHODS: readonly string[] = ['GET', 'PUT', 'POST', 'DELETE', 'HEAD']

/**
 * `CORSConfiguration`.
 *
 * @throws {S3Error} MalformedXML: also a rule without origin or method. InvalidRequest: more than
 * 100 rules, a method that is not served, more than one `*` in an origin or header, any in a header
 * to expose, or an id of more than 255 characters.
 */
export function readCorsConfiguration(body: Uint8Array): readonly CorsRule[] {
  const root = parseXml(body, 'CORSConfiguration')
  root.only('CORSRule')
  const count = root.elements.length
  if (count === 0) throw malformed('no CORSRule')
  if (count > RULES_MAX) {
    const message = `The number of CORS rules should not exceed the limit of ${RULES_MAX} rules.`
    throw new S3Error('InvalidRequest', message)
  }
  return root.elements.map(readRule)
}

function readRule(element: XmlElement): CorsRule {
  element.only(
    'ID',
    'AllowedOrigin',
    'AllowedMethod',
    'AllowedHeader',
    'ExposeHeader',
    'MaxAgeSeconds',
  )
  const rule = {
    id: element.text('ID'),
    allowedOrigins: textsOf(element, 'AllowedOrigin'),
    allowedMethods: textsOf(element, 'AllowedMethod'),
    allowedHeaders: textsOf(element, 'AllowedHeader'),
    exposeHeaders: textsOf(element, 'ExposeHeader'),
    maxAgeSeconds: element.integer('MaxAgeSeconds', { min: 0, max: AGE_SECONDS_MAX }),
  }
  if (rule.allowedOrigins.length === 0 || rule.allowedMethods.length === 0) {
    throw malformed('a CORSRule needs an AllowedOrigin and an AllowedMethod')
  }
  checkRule(rule)
  return rule
}

function checkRule(rule: CorsRule): void {
  if (rule.id !== undefined && rule.id.length > ID_LENGTH_MAX) {
    throw new S3Error('InvalidRequest', `The ID of a rule is longer than ${ID_LENGTH_MAX}.`)
  }
  for (const method of rule.allowedMethods) {
    if (METHODS.includes(method)) continue
    const message = `Found unsupported HTTP method in CORS config: ${quote(method)}`
    throw new S3Error('InvalidRequest', message)
  }
  checkWildcards('AllowedOrigin', rule.allowedOrigins)
  checkWildcards('AllowedHeader', rule.allowedHeaders)
  const exposed = rule.exposeHeaders.find((header) => header.includes('*'))
  if (exposed !== undefined) {
    const message = `ExposeHeader ${quote(exposed)} contains wildcard, which is not supported.`
    throw new S3Error('InvalidRequest', message)
  }
}

function checkWildcards(name: string, values: readonly string[]): void {
  const wild = values.find((value) => value.indexOf('*') !== value.lastIndexOf('*'))
  if (wild === undefined) return
  throw new S3Error('InvalidRequest', `${name} ${quote(wild)} can not have more than one wildcard.`)
}

function textsOf(element: XmlElement, name: string): readonly string[] {
  return element.children(name).map((child) => child.content)
}

export function writeCorsConfiguration(rules: readonly CorsRule[]): string {
  return xmlDocument('CORSConfiguration', rules.map(writeRule).join(''))
}

function writeRule(rule: CorsRule): string {
  const content = [
    textElement('ID', rule.id),
    textElements('AllowedMethod', rule.allowedMethods),
    textElements('AllowedOrigin', rule.allowedOrigins),
    textElements('AllowedHeader', rule.allowedHeaders),
    textElement('MaxAgeSeconds', rule.maxAgeSeconds),
    textElements('ExposeHeader', rule.exposeHeaders),
  ]
  return `<CORSRule>${content.join('')}</CORSRule>`
}
