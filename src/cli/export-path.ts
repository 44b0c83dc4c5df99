const PATH_MAX_BYTES = 4096

/**
 * True for a path that stays below the directory it is joined to: relative, no empty, `.` or `..`
 * part, no NUL. Says nothing about symbolic links on the way.
 */
export function isSafePath(path: string): boolean {
  if (path.includes('\0') || Buffer.byteLength(path, 'utf8') > PATH_MAX_BYTES) return false
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}
