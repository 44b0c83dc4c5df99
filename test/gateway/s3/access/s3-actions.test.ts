import { describe, expect, test } from 'vitest'
import {
  isSomeAction,
  ruleOfAction,
  S3_ACTIONS,
  type S3Action,
} from '../../../../src/gateway/s3/access/s3-actions.ts'

describe('the table of actions', () => {
  test.each(Object.entries(S3_ACTIONS))(
    '%s has a list of grants only with a permission',
    (name, row) => {
      expect(name).toMatch(/^s3:[A-Z][A-Za-z]+$/)
      expect('aclOf' in row).toBe('permission' in row)
      if ('aclOf' in row && row.aclOf === 'object') expect(row.level).toBe('object')
    },
  )

  test.each<[string, S3Action[]]>([
    ['bucket READ', ['s3:ListBucket', 's3:ListBucketVersions', 's3:ListBucketMultipartUploads']],
    ['bucket WRITE', ['s3:PutObject', 's3:DeleteObject']],
    ['bucket READ_ACP', ['s3:GetBucketAcl']],
    ['bucket WRITE_ACP', ['s3:PutBucketAcl']],
    [
      'object READ',
      [
        's3:GetObject',
        's3:GetObjectVersion',
        's3:GetObjectAttributes',
        's3:GetObjectVersionAttributes',
        's3:GetObjectTorrent',
        's3:GetObjectVersionTorrent',
      ],
    ],
    ['object READ_ACP', ['s3:GetObjectAcl', 's3:GetObjectVersionAcl']],
    ['object WRITE_ACP', ['s3:PutObjectAcl', 's3:PutObjectVersionAcl']],
  ])('%s allows exactly %o', (grant, actions) => {
    const granted = Object.entries(S3_ACTIONS)
      .filter(([, row]) => 'aclOf' in row && `${row.aclOf} ${row.permission}` === grant)
      .map(([name]) => name)
    expect(granted.sort()).toEqual([...actions].sort())
  })

  test.each(['', 's3:', 's3:Nothing', 's3:getobject', 'GetObject', 'constructor', '__proto__'])(
    'has no rule for %o',
    (action) => {
      expect(ruleOfAction(action)).toBeUndefined()
    },
  )

  test('is searched in lower case', () => {
    expect(isSomeAction((action) => action === 's3:getobject')).toBe(true)
    expect(isSomeAction((action) => action === 's3:GetObject')).toBe(false)
  })
})
