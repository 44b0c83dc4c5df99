import { describe, expect, test } from 'vitest'
import { RouteTable } from '../../../src/gateway/rest/route-table.ts'

const table = new RouteTable()
table.add('/a.b', 'GET')
table.add('/read/:key', ['GET', 'HEAD'])
table.add('/read/:key', 'PATCH')
table.add('/objects/*', 'POST')
table.add('/objects/:key/info', 'GET')

describe('a table of routes', () => {
  test.each([
    ['/a.b', ['GET']],
    ['/acb', []],
    ['/read/x', ['GET', 'HEAD', 'PATCH']],
    ['/read/', []],
    ['/read/x/y', []],
    ['/objects/', ['POST']],
    ['/objects/x/y', ['POST']],
    ['/objects/x/info', ['GET', 'POST']],
    ['/objects', []],
    ['/', []],
  ])('at %s has the methods %j', (path, methods) => {
    expect(table.methodsAt(path)).toEqual(methods)
  })
})
