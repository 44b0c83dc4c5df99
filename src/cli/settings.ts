import type { Command, Option } from 'commander'
import { parseDocument } from 'yaml'
import { quote, StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'
import { type Disk, readFile } from '../runtime/disk.ts'

/** Values of environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>

export interface SettingsParts {
  readonly disk: Disk
  readonly env: Environment
}

/** Values of one section of a settings file, by option name: text, as on a command line. */
type Section = ReadonlyMap<string, string>

const CONFIG_OPTION = 'config'
/** Settings for every command that has an option of that name. */
const SHARED_SECTION = 'common'
/** A few hundred settings; a larger file is some other file. */
const FILE_MAX_BYTES = 256 * KIB
const HELP_EXAMPLES = 3

/**
 * Lets every option of every command be set by its environment variable or in a YAML file too:
 * flag before environment before file before default. Call it when all commands are registered.
 *
 * Whatever comes from the environment or the file is text, as on the command line, so that one
 * parser judges all of it: `replication: 001` stays `001`.
 *
 * @throws {StoreError} CONFIG_INVALID, when a command runs: the file cannot be read as YAML, names
 * a section or a key that does not exist, or gives a switch another value than true or false.
 */
export function prepareSettings(program: Command, parts: SettingsParts): void {
  program.option(
    `--${CONFIG_OPTION} <file>`,
    `YAML file with settings, a section per command (env: ${envName(CONFIG_OPTION)})`,
  )
  for (const command of allCommands(program)) describeSettings(command)
  program.hook('preSubcommand', async (_, command) => {
    const { [CONFIG_OPTION]: flag } = program.opts<{ readonly config?: string }>()
    const path = flag ?? parts.env[envName(CONFIG_OPTION)]
    const file = path === undefined ? undefined : await readSettingsFile(program, parts.disk, path)
    for (const target of [command, ...allCommands(command)]) {
      applySettings(target, file, parts.env)
    }
  })
}

/** `--volume-size` is `HAYLOFT_VOLUME_SIZE`. */
export function envName(optionName: string): string {
  return `HAYLOFT_${optionName.toUpperCase().replaceAll('-', '_')}`
}

interface SettingsFile {
  readonly path: string
  readonly sections: ReadonlyMap<string, Section>
}

function applySettings(command: Command, file: SettingsFile | undefined, env: Environment): void {
  const own = file?.sections.get(sectionName(command))
  const shared = file?.sections.get(SHARED_SECTION)
  for (const option of settableOptions(command)) {
    const name = option.name()
    const fromFile = own?.get(name) ?? shared?.get(name)
    const fromEnv = env[envName(name)]
    if (fromEnv !== undefined) {
      const value = readValue(option, fromEnv, envName(name))
      command.setOptionValueWithSource(option.attributeName(), value, 'env')
    } else if (fromFile !== undefined) {
      const value = readValue(option, fromFile, `${name} in ${file?.path ?? ''}`)
      command.setOptionValueWithSource(option.attributeName(), value, 'config')
    }
  }
}

function readValue(option: Option, text: string, where: string): string | true | undefined {
  if (takesValue(option)) return text
  if (text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return undefined
  throw new StoreError('CONFIG_INVALID', `${where} ${quote(text)}: it must be true or false`)
}

async function readSettingsFile(program: Command, disk: Disk, path: string): Promise<SettingsFile> {
  const bytes = await readFile(disk, path, FILE_MAX_BYTES)
  // Every scalar stays the text it is written as.
  const document = parseDocument(bytes.toString('utf8'), { schema: 'failsafe' })
  const [error] = document.errors
  if (error !== undefined) {
    const line = error.linePos?.[0].line ?? 1
    const why = error.message.split('\n')[0] ?? ''
    throw new StoreError('CONFIG_INVALID', `${path} is not YAML, line ${line}: ${why}`)
  }
  const root = mapOf(document.toJS(), path, 'it')
  const known = knownNames(program)
  const sections = new Map<string, Section>()
  for (const [section, content] of root) {
    const names = known.get(section)
    if (names === undefined) {
      const sectionNames = [...known.keys()].join(', ')
      const why = `there is no section ${quote(section)}; sections are ${sectionNames}`
      throw new StoreError('CONFIG_INVALID', `${path}: ${why}`)
    }
    sections.set(section, readSection(path, section, content, names))
  }
  return { path, sections }
}

function readSection(
  path: string,
  section: string,
  content: unknown,
  names: ReadonlySet<string>,
): Section {
  const values = new Map<string, string>()
  for (const [name, value] of mapOf(content, path, `section ${section}`)) {
    if (!names.has(name)) {
      throw new StoreError('CONFIG_INVALID', `${path}: ${section} has no setting ${quote(name)}`)
    }
    const items = Array.isArray(value) ? value : [value]
    if (!items.every((item) => typeof item === 'string')) {
      const why = `${section}: ${name} must be a single value or a list of values`
      throw new StoreError('CONFIG_INVALID', `${path}: ${why}`)
    }
    values.set(name, items.join(','))
  }
  return values
}

/** An empty file or section has no settings. */
function mapOf(value: unknown, path: string, what: string): [string, unknown][] {
  if (value === null || value === undefined || value === '') return []
  if (typeof value === 'object' && !Array.isArray(value)) return Object.entries(value)
  const why = `${what} must be a mapping, with lines like "key: value"`
  throw new StoreError('CONFIG_INVALID', `${path}: ${why}`)
}

/** The sections a file may have, and the keys of each. */
function knownNames(program: Command): ReadonlyMap<string, ReadonlySet<string>> {
  const shared = new Set<string>()
  const known = new Map<string, ReadonlySet<string>>([[SHARED_SECTION, shared]])
  for (const command of allCommands(program)) {
    const names = settableOptions(command).map((option) => option.name())
    if (names.length === 0) continue
    known.set(sectionName(command), new Set(names))
    for (const name of names) shared.add(name)
  }
  return known
}

/** `names ls` is `names-ls`. */
function sectionName(command: Command): string {
  const { parent } = command
  const isTop = parent === null || parent.parent === null
  return isTop ? command.name() : `${sectionName(parent)}-${command.name()}`
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...allCommands(child)])
}

function settableOptions(command: Command): Option[] {
  return command.options.filter((option) => option.long !== undefined && !option.negate)
}

function takesValue(option: Option): boolean {
  return option.required || option.optional
}

function describeSettings(command: Command): void {
  const options = settableOptions(command)
  if (options.length === 0) return
  for (const option of options) {
    option.description = `${option.description} (env: ${envName(option.name())})`
  }
  const examples = options.filter(takesValue).slice(0, HELP_EXAMPLES)
  const lines = examples.map((option) => `    ${option.name()}: ${exampleOf(option)}`)
  if (lines.length === 0) lines.push(`    ${options[0]?.name() ?? ''}: true`)
  const intro = 'In a settings file (--config FILE; flag before environment before file):'
  command.addHelpText('after', `\n${intro}\n  ${sectionName(command)}:\n${lines.join('\n')}`)
}

function exampleOf(option: Option): string {
  const { defaultValue } = option
  if (typeof defaultValue === 'string' && defaultValue !== '') return defaultValue
  return /<(.+)>/.exec(option.flags)?.[1] ?? 'value'
}
