import type { GranteeGroup } from './bucket-settings.ts'

/** In one list. Source: the S3 user guide, "Access control list (ACL) overview". */
export const GRANTS_MAX = 100

/** Source: the S3 user guide, "Amazon S3 predefined groups". */
export const GROUP_URIS: Readonly<Record<GranteeGroup, string>> = {
  AllUsers: 'http://acs.amazonaws.com/groups/global/AllUsers',
  AuthenticatedUsers: 'http://acs.amazonaws.com/groups/global/AuthenticatedUsers',
  LogDelivery: 'http://acs.amazonaws.com/groups/s3/LogDelivery',
}
const GROUPS = ['AllUsers', 'AuthenticatedUsers', 'LogDelivery'] as const

export function groupOfUri(uri: string): GranteeGroup | undefined {
  return GROUPS.find((group) => GROUP_URIS[group] === uri)
}
