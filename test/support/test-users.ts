import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { MetadataBatch } from '../../src/metadata/metadata-store.ts'
import { SecretBox } from '../../src/namespace/secret-box.ts'
import { Users, type UsersParts } from '../../src/namespace/users.ts'
import { type Logger, silentLogger } from '../../src/runtime/logger.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

export const SEAL_KEY = Buffer.alloc(32, 7)

/** Counts reads, and fails or interferes where a test says so. */
export class TestUsersStore extends MemoryStore {
  getCount = 0
  beforeCommit: () => Promise<void> = async () => undefined
  afterCommit: () => Promise<void> = async () => undefined

  override async get(key: string, signal: AbortSignal) {
    this.getCount++
    return await super.get(key, signal)
  }

  override async commit(batch: MetadataBatch, signal: AbortSignal) {
    await this.beforeCommit()
    await super.commit(batch, signal)
    await this.afterCommit()
  }
}

export interface TestUsersOptions extends Partial<Omit<UsersParts, 'store' | 'clock' | 'box'>> {
  readonly store?: TestUsersStore
  readonly secrets?: readonly Buffer[]
}

export async function openTestUsers(options: TestUsersOptions = {}) {
  const { store = new TestUsersStore(), secrets = [SEAL_KEY], ...parts } = options
  const { random = new Prng(1) } = parts
  const clock = new SimClock()
  const logged: string[] = []
  const log = (event: string): void => void logged.push(event)
  const logger: Logger = { ...silentLogger, info: log, error: log }
  const box = new SecretBox({ random }, secrets)
  const checkWritable = (): void => undefined
  const checkPolicy = (): void => undefined
  const base = { store, clock, random, logger, box, checkWritable, checkPolicy }
  const users = await Users.open({ ...base, ...parts }, new AbortController().signal)
  return { users, store, clock, logged }
}
