import type { Prng } from './prng.ts'

/** A document of the tests. `generation` is cold, `update_count` hot: both are always the same. */
export interface TestDocument {
  readonly strategy: string
  readonly fields: Readonly<Record<string, string | number>>
}

/** Ways to write a document; all but the first two need one that is stored by its fields. */
export const WRITE_KINDS = ['full', 'whole', 'coded', 'hot', 'hot-only'] as const
export type WriteKind = (typeof WRITE_KINDS)[number]

export interface DocumentWrite {
  readonly key: string
  readonly kind: WriteKind
  /** Of `POST /write`. */
  readonly query: string
  readonly body: string
  /** What it makes of the document. */
  readonly made: TestDocument
}

interface Entry {
  /** The last that was acknowledged; undefined: none was. */
  known: TestDocument | undefined
  /** What came of these is not known. */
  readonly tried: TestDocument[]
  /** Each that was ever tried, after the time without any. */
  readonly all: (TestDocument | undefined)[]
}

const STRATEGIES = { full: 'field_hybrid', whole: 'replication', coded: 'ec' } as const

/** What clients were told about documents, and so what may be read. One writer for each key. */
export class DocumentLedger {
  readonly #prng: Prng
  readonly #entries = new Map<string, Entry>()
  #count = 0
  ackedCount = 0

  constructor(prng: Prng) {
    this.#prng = prng
  }

  get keys(): readonly string[] {
    return [...this.#entries.keys()]
  }

  known(key: string): TestDocument | undefined {
    return this.#entries.get(key)?.known
  }

  /** A new generation is cold; an update of hot fields needs a document whose state is known. */
  plan(key: string, kind: WriteKind, coldBytes: number): DocumentWrite {
    const { known, tried } = this.#entry(key)
    const count = ++this.#count
    if (kind === 'hot' || kind === 'hot-only') {
      if (tried.length > 0 || known?.strategy !== STRATEGIES.full) {
        throw new Error(`${key} cannot have its hot fields updated`)
      }
      const fields = { ...known.fields, view_count: count }
      const isOnly = kind === 'hot-only'
      const body = JSON.stringify(isOnly ? { view_count: count } : fields)
      const query = queryOf(key, STRATEGIES.full) + (isOnly ? '&hot_only=true' : '')
      return { key, kind, query, body, made: { ...known, fields } }
    }
    const fields = {
      title: `document ${key}`,
      generation: count,
      update_count: count,
      view_count: 0,
      text: this.#prng.bytes(coldBytes).toString('base64'),
    }
    const strategy = STRATEGIES[kind]
    const query = queryOf(key, strategy)
    return { key, kind, query, body: JSON.stringify(fields), made: { strategy, fields } }
  }

  /** Any that is possible now. */
  pickKind(key: string): WriteKind {
    const { known, tried } = this.#entry(key)
    const isByFields = tried.length === 0 && known?.strategy === STRATEGIES.full
    return this.#prng.pick(
      isByFields ? ['full', 'hot', 'hot', 'hot-only', 'whole', 'coded'] : ['full', 'full', 'coded'],
    )
  }

  begin({ key, made }: DocumentWrite): void {
    const { all, tried } = this.#entry(key)
    tried.push(made)
    all.push(made)
  }

  acknowledge({ key, made }: DocumentWrite): void {
    this.ackedCount++
    this.settle(key, made)
  }

  /** It was found out what became of what was tried. */
  settle(key: string, known: TestDocument | undefined): void {
    const entry = this.#entry(key)
    entry.known = known
    entry.tried.length = 0
  }

  /** The documents that may be read now; undefined stands for none. */
  possible(key: string): readonly (TestDocument | undefined)[] {
    const { known, tried } = this.#entry(key)
    return [known, ...tried]
  }

  /** Where in the life of the document it is now, for `since`. */
  place(key: string): number {
    const { all, known } = this.#entry(key)
    return all.lastIndexOf(known)
  }

  /** The documents that a read which began at that place may find. */
  since(key: string, place: number): readonly (TestDocument | undefined)[] {
    return this.#entry(key).all.slice(place)
  }

  #entry(key: string): Entry {
    const found = this.#entries.get(key)
    if (found !== undefined) return found
    const made: Entry = { known: undefined, tried: [], all: [undefined] }
    this.#entries.set(key, made)
    return made
  }
}

function queryOf(key: string, strategy: string): string {
  return `key=${encodeURIComponent(key)}&strategy=${strategy}`
}

/** For comparing: the fields in order. Undefined: there is no document. */
export function textOf(fields: TestDocument['fields'] | undefined): string | undefined {
  if (fields === undefined) return undefined
  return JSON.stringify(Object.fromEntries(Object.entries(fields).sort()))
}
