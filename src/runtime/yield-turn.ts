/** Lets everything else that waits for the event loop go first. For long computations. */
export function yieldTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
