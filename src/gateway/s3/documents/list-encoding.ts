import { escapeXml, textElement } from '../xml/xml-writer.ts'

/** What `encoding-type` asks for; undefined: keys come as they are. */
export type KeyEncoding = 'url' | undefined

const PLAIN = /^[A-Za-z0-9\-._~/]*$/
/** What `encodeURIComponent` leaves as it is, but RFC 3986 reserves, and the slash back. */
const LEFT_OVER = /[!'()*]|%2F/g

/**
 * A key, prefix, delimiter or marker in a list, not yet escaped for XML. URL-encoded, `/` and the
 * unreserved characters stay, a space is `%20` and `+` is `%2B`: decoders that make a space of `+`
 * and those that do not both get the key.
 */
export function encodeKey(text: string, encoding: KeyEncoding): string {
  if (encoding === undefined || PLAIN.test(text)) return text
  // Half of a surrogate pair has no UTF-8: this way it becomes U+FFFD, and does not throw.
  return encodeURIComponent(Buffer.from(text).toString()).replace(LEFT_OVER, (found) =>
    found === '%2F' ? '/' : `%${found.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** An element that holds a key. Nothing for `undefined`. */
export function keyElement(name: string, text: string | undefined, encoding: KeyEncoding): string {
  if (text === undefined) return ''
  return `<${name}>${escapeXml(encodeKey(text, encoding))}</${name}>`
}

export function encodingTypeElement(encoding: KeyEncoding): string {
  return textElement('EncodingType', encoding)
}

export function commonPrefixElements(prefixes: readonly string[], encoding: KeyEncoding): string {
  return prefixes
    .map((prefix) => `<CommonPrefixes>${keyElement('Prefix', prefix, encoding)}</CommonPrefixes>`)
    .join('')
}
