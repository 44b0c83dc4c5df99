declare module 'fs-native-extensions' {
  /** Locks the whole file exclusively; false when another open file description holds it. */
  export function tryLock(fd: number): boolean
}
