/** Which methods are answered at which paths: the router itself only says that one is not. */
export class RouteTable {
  readonly #methods = new Map<string, { readonly pattern: RegExp; readonly names: Set<string> }>()

  /** `url` as routes are declared: `/read/:key`, `/objects/*`. */
  add(url: string, methods: string | readonly string[]): void {
    const known = this.#methods.get(url) ?? { pattern: patternOf(url), names: new Set<string>() }
    this.#methods.set(url, known)
    for (const method of [methods].flat()) known.names.add(method)
  }

  /** In alphabetical order; empty: nothing answers at this path, whatever the method. */
  methodsAt(path: string): readonly string[] {
    const found = [...this.#methods.values()].filter(({ pattern }) => pattern.test(path))
    return [...new Set(found.flatMap(({ names }) => [...names]))].sort()
  }
}

function patternOf(url: string): RegExp {
  const parts = url.split('/').map((part) => {
    if (part.startsWith(':')) return '[^/]+'
    return part === '*' ? '.*' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('/')}$`)
}
