import type { Command } from 'commander'

export interface RootKeyFlags {
  readonly s3RootAccessKey?: string
  readonly s3RootSecretKey?: string
}

export function addRootKeyOptions(command: Command): Command {
  return command
    .option('--s3-root-access-key <id>', 'one more access key of the root user of S3')
    .option('--s3-root-secret-key <secret>', 'its secret; better in the environment than here')
}

/** As the configuration of a master wants them. */
export function readRootKeySettings({ s3RootAccessKey, s3RootSecretKey }: RootKeyFlags) {
  return { rootAccessKey: s3RootAccessKey, rootSecretKey: s3RootSecretKey }
}
