import type { Limit } from './limit.ts'
import { MIB } from './units.ts'

/** Bounds of the gateway of users' files. See `LIMITS`. */
export const FILES_LIMITS = {
  userNoncesMax: {
    value: 20_000,
    unit: 'calls',
    reason: 'of one access key within ten minutes: 33 a second, and more where clocks agree',
    atLimit: 'the oldest are forgotten, and calls signed as long ago are refused from then on',
  },
  userNoncesAllMax: {
    value: 1_000_000,
    unit: 'calls',
    reason: 'of all access keys: about 100 MB',
    atLimit: 'the call fails with OVERLOADED',
  },
  fileCallsMax: {
    value: 512,
    unit: 'calls',
    reason: 'each may have up to 16 MiB of messages waiting, and a chunk or a few of its file',
    atLimit: 'the call fails at once with OVERLOADED',
  },
  fileMessageMax: {
    value: 2 * MIB,
    unit: 'bytes',
    reason: 'the 1 MiB of data that a message may have, and whatever is around it',
    atLimit: 'the call fails with PEER_FAILED, and nothing of it stays',
  },
  fileUploadSilenceMs: {
    value: 60_000,
    unit: 'milliseconds',
    reason: 'twice as long as a mobile connection may be silent and come back',
    atLimit: 'the upload fails with TIMEOUT, and nothing of it stays',
  },
  filePagesMax: {
    value: 500,
    unit: 'files',
    reason: 'of one message of a list: some 200 KB',
    atLimit: 'the next message has the others',
  },
} as const satisfies Readonly<Record<string, Limit>>
