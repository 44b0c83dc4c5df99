/** 0 done; 1 done, and something is wrong with the data; 2 not done; 70 a bug of ours. */
export const EXIT = { done: 0, findings: 1, error: 2, bug: 70 } as const
