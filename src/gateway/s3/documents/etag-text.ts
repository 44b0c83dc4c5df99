/**
 * An entity tag as clients send it, in quotes or not, as the gateway keeps it: without. Some
 * clients escape the quotes twice, so that `&quot;` is left of them.
 */
export function unquoteEtag(text: string): string {
  const plain = text.trim().replaceAll('&quot;', '"').replaceAll('&#34;', '"')
  const isQuoted = plain.length >= 2 && plain.startsWith('"') && plain.endsWith('"')
  return isQuoted ? plain.slice(1, -1) : plain
}
