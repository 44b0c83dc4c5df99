import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import { volumeId } from '../../src/base/ids.ts'
import {
  parseCollection,
  parseVolumeFileName,
  volumeBaseName,
} from '../../src/format/file-names.ts'
import { expectStoreError } from '../support/expect-error.ts'

describe('the name of a volume file', () => {
  test.each([
    ['7.dat', '', 7, 'dat'],
    ['7.idx', '', 7, 'idx'],
    ['7.vif', '', 7, 'vif'],
    ['7.sum', '', 7, 'sum'],
    ['7.cpd', '', 7, 'cpd'],
    ['7.cpx', '', 7, 'cpx'],
    ['7.cpc', '', 7, 'cpc'],
    ['7.cps', '', 7, 'cps'],
    ['7.rpd', '', 7, 'rpd'],
    ['7.rpx', '', 7, 'rpx'],
    ['7.rps', '', 7, 'rps'],
    ['7.rpv', '', 7, 'rpv'],
    ['7.rpc', '', 7, 'rpc'],
    ['7.failed', '', 7, 'failed'],
    ['7.note', '', 7, 'note'],
    ['7.sdx', '', 7, 'sdx'],
    ['7.ldb', '', 7, 'ldb'],
    ['7.rdb', '', 7, 'rdb'],
    ['7.cpldb', '', 7, 'cpldb'],
    ['7.ec00', '', 7, 'ec00'],
    ['7.ec13', '', 7, 'ec13'],
    ['7.ec31', '', 7, 'ec31'],
    ['7.ecx', '', 7, 'ecx'],
    ['7.ecj', '', 7, 'ecj'],
    ['7.ecsum', '', 7, 'ecsum'],
    ['4294967295.dat', '', 0xffff_ffff, 'dat'],
    ['photos_7.dat', 'photos', 7, 'dat'],
    ['my_photos_7.dat', 'my_photos', 7, 'dat'],
    ['a_1_7.dat', 'a_1', 7, 'dat'],
    ['__7.dat', '_', 7, 'dat'],
    ['Fotos.alt_7.dat', 'Fotos.alt', 7, 'dat'], // As another system named it.
    ['ä b_7.dat', 'ä b', 7, 'dat'],
  ])('%s: collection %o, volume %i, %s', (name, collection, id, extension) => {
    expect(parseVolumeFileName(name)).toEqual({ collection, volumeId: id, extension })
    expect(`${volumeBaseName({ collection, volumeId: volumeId(id) })}.${extension}`).toBe(name)
  })

  test.each([
    '',
    '7',
    '.dat',
    'dat',
    '7.',
    '7.tmp',
    '7.sum.tmp',
    '7.DAT',
    '0.dat',
    '007.dat',
    '-7.dat',
    '4294967296.dat',
    '99999999999.dat',
    'photos.dat',
    'photos_.dat',
    '_7.dat',
    'photos-7.dat',
    '7.ec32',
    '7.ec1',
    '7.ec001',
    '7.dat0',
    '7.dat ',
    ' 7.dat',
    '7.dat\n',
    'a/b_7.dat',
    '../7.dat',
    'a\0_7.dat',
    'vol_dir.uuid',
    'photos_7x.dat',
  ])('%o is no volume file', (name) => {
    expect(parseVolumeFileName(name)).toBeUndefined()
  })

  test('whatever parses is the one name of that volume', () => {
    const parts = fc.constantFrom('a', '_', '7', '0', '.', 'dat', 'ec', '1', '/', '\n', 'é')
    const names = fc.oneof(
      fc.string(),
      fc.array(parts, { maxLength: 9 }).map((all) => all.join('')),
    )
    fc.assert(
      fc.property(names, (name) => {
        const file = parseVolumeFileName(name)
        if (file !== undefined) expect(`${volumeBaseName(file)}.${file.extension}`).toBe(name)
      }),
      { numRuns: 3000 },
    )
  })

  test('a collection with a slash never becomes a path', () => {
    for (const collection of ['../etc', 'a/b', 'a\0b']) {
      expect(() => volumeBaseName({ collection, volumeId: volumeId(1) })).toThrow(AssertionFailure)
    }
  })
})

describe('a collection', () => {
  test.each(['', 'a', '0', 'photos', 'my-photos_2', 'a_7', 'x'.repeat(63)])('%o is one', (name) => {
    expect(parseCollection(name)).toBe(name)
    if (name === '') return
    expect(parseVolumeFileName(`${name}_7.dat`)?.collection).toBe(name)
  })

  test.each(['-a', '_a', 'A', 'a.b', 'a b', 'a/b', '..', 'ä', 'a\n', 'x'.repeat(64)])(
    '%o is none',
    (name) => {
      expectStoreError(() => parseCollection(name), 'CONFIG_INVALID')
    },
  )
})
