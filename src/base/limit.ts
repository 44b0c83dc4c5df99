/** One bound of the program. */
export interface Limit {
  readonly value: number
  readonly unit: string
  /** Why this number. */
  readonly reason: string
  /** What happens when it is reached. */
  readonly atLimit: string
}
