import { StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'

/**
 * For whatever changes something: to be called at the moment of acting.
 *
 * @throws {StoreError} NOT_LEADER, with the address of the one who leads.
 */
export function checkLeader(coordinator: Pick<Coordinator, 'isLeader' | 'leader'>): void {
  if (coordinator.isLeader()) return
  const { leader } = coordinator
  const who = leader === '' ? 'nobody leads now' : `the leader is ${leader}`
  throw new StoreError('NOT_LEADER', who)
}
