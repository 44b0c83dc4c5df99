import { quote } from '../../../base/store-error.ts'
import { S3Error } from '../s3-error.ts'

/** The fields of a POST form that stand before its file. Their names have no capitals. */
export class PostFields {
  readonly #values: ReadonlyMap<string, string>

  private constructor(values: ReadonlyMap<string, string>) {
    this.#values = values
  }

  /**
   * @throws {S3Error} InvalidArgument: a name comes twice. Whoever checks a form and whoever uses
   * it could take different ones.
   */
  static of(pairs: Iterable<readonly [name: string, value: string]>): PostFields {
    const values = new Map<string, string>()
    for (const [name, value] of pairs) {
      const key = name.toLowerCase()
      if (values.has(key)) {
        throw new S3Error('InvalidArgument', `The form has more than one field ${quote(name)}`)
      }
      values.set(key, value)
    }
    return new PostFields(values)
  }

  /** @param name whichever its capitals. */
  get(name: string): string | undefined {
    return this.#values.get(name.toLowerCase())
  }

  has(name: string): boolean {
    return this.get(name) !== undefined
  }

  /** In lower case. */
  names(): Iterable<string> {
    return this.#values.keys()
  }

  /**
   * The same with the name of the file instead of `${filename}` in the key. Policies are checked
   * against what comes of it. Browsers may send a path: only what follows its last slash counts.
   */
  withFileName(fileName: string): PostFields {
    const key = this.get('key')
    if (key === undefined || !key.includes(FILE_NAME_VARIABLE)) return this
    const lastPart = fileName.replace(/^.*[/\\]/s, '')
    const values = new Map(this.#values)
    values.set('key', key.split(FILE_NAME_VARIABLE).join(lastPart))
    return new PostFields(values)
  }
}

const FILE_NAME_VARIABLE = `\${filename}`
