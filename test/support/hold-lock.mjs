// Takes the lock of the file named by the first argument, says so, and waits to be killed.
import { closeSync, openSync } from 'node:fs'
import { tryLock } from 'fs-native-extensions'

const fd = openSync(process.argv[2], 'a+')
const isLocked = tryLock(fd)
process.stdout.write(isLocked ? 'locked\n' : 'refused\n')
if (isLocked) setInterval(() => {}, 1000)
else closeSync(fd)
