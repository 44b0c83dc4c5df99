import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { type JobTargetFlags, readJobTargets } from '../../src/cli/job-target.ts'
import { JOB_KINDS, type JobKind, type JobTarget } from '../../src/net/jobs-api.ts'

const V3 = { volumeId: volumeId(3) }
const V9 = { volumeId: volumeId(9) }

/** As typed on a command line, unless `isTyped` says otherwise. */
function read(
  kind: JobKind,
  flags: JobTargetFlags,
  isTyped = (name: string): boolean => Object.hasOwn(flags, name),
): Promise<readonly JobTarget[]> {
  return readJobTargets(kind, flags, isTyped, async (collection) =>
    collection === 'photos' ? [V9.volumeId] : [V3.volumeId, V9.volumeId],
  )
}

describe('the target of a job', () => {
  test.each<[JobKind, JobTargetFlags, readonly JobTarget[]]>([
    ['scrub', { volume: '3' }, [V3]],
    ['vacuum', { volume: '3, 9' }, [V3, V9]],
    ['expire', { volume: 'all' }, [V3, V9]],
    ['scrub', { volume: 'all', collection: 'photos' }, [V9]],
    ['replica-repair', { volume: '9', deep: true }, [{ ...V9, isDeep: true }]],
    ['replica-repair', { volume: '9', acceptNode: 'a:1' }, [{ ...V9, acceptNode: 'a:1' }]],
    ['move', { volume: '3', node: 'a:1' }, [{ ...V3, node: 'a:1' }]],
    ['move', { volume: '3', node: 'a:1', toNode: 'b:2' }, [{ ...V3, node: 'a:1', toNode: 'b:2' }]],
    ['rebalance', {}, [{}]],
    ['evacuate', { node: 'a:1' }, [{ node: 'a:1' }]],
    [
      'set-replication',
      { collection: 'photos', replication: '110' },
      [{ collection: 'photos', replication: parseReplicaPlacement('110') }],
    ],
    ['ec-encode', { volume: '3' }, [V3]],
    [
      'ec-encode',
      { volume: 'all', collection: 'photos', erasure: '10+4' },
      [{ ...V9, erasure: { dataShards: 10, parityShards: 4 } }],
    ],
    ['ec-repair', { volume: '3,9' }, [V3, V9]],
    ['ec-balance', { volume: '3' }, [V3]],
    ['ec-vacuum', { volume: '3' }, [V3]],
    ['ec-decode', { volume: '3' }, [V3]],
  ])('of %s with %j is %j', async (kind, flags, targets) => {
    expect(await read(kind, flags)).toEqual(targets)
  })

  test.each<[JobKind, JobTargetFlags, string]>([
    ['scrub', {}, 'scrub needs --volume'],
    ['move', { volume: '3' }, 'move needs --node'],
    ['evacuate', {}, 'evacuate needs --node'],
    ['set-replication', { collection: 'photos' }, 'set-replication needs --replication'],
    ['rebalance', { volume: '3' }, '--volume means nothing to rebalance'],
    ['ec-encode', { erasure: '10+4' }, 'ec-encode needs --volume'],
    ['ec-decode', { volume: '3', erasure: '10+4' }, '--erasure means nothing to ec-decode'],
    ['scrub', { volume: '3', deep: true }, '--deep means nothing to scrub'],
    [
      'vacuum',
      { volume: 'some' },
      '--volume "some": it must be numbers with commas between, or all',
    ],
    ['vacuum', { volume: '' }, '--volume "": it must be numbers with commas between, or all'],
  ])('of %s with %j is refused: %s', async (kind, flags, message) => {
    await expect(read(kind, flags)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message })
  })

  test('ignores what is set for other commands, but not what was typed', async () => {
    const flags = { volume: '3', replication: '001' }
    expect(await read('scrub', flags, (name) => name === 'volume')).toEqual([V3])
    await expect(read('scrub', flags)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('is refused with a scheme that cannot be made', async () => {
    const asked = read('ec-encode', { volume: '3', erasure: '10+40' })
    await expect(asked).rejects.toMatchObject({ code: 'ERASURE_INVALID' })
  })

  test('is known for every kind there is', async () => {
    const flags = { volume: '3', node: 'a:1', collection: 'c', replication: '001' }
    for (const kind of JOB_KINDS) {
      expect(await read(kind, flags, () => false)).toHaveLength(1)
    }
  })
})
