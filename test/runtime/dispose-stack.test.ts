import { describe, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'

describe('DisposeStack', () => {
  test('disposes of everything once, in reverse, sync and async alike', async () => {
    const order: string[] = []
    const stack = new DisposeStack()
    const file = stack.use(asyncResource('file', order))
    const timer = { [Symbol.dispose]: () => order.push('timer') }
    stack.use(timer as unknown as Disposable)
    stack.defer(() => order.push('step'))
    expect(file.name).toBe('file')
    await stack[Symbol.asyncDispose]()
    await stack[Symbol.asyncDispose]()
    expect(order).toEqual(['step', 'timer', 'file'])
  })

  test('closes what was opened when opening the next thing throws', async () => {
    const order: string[] = []
    const open = async () => {
      await using opening = new DisposeStack()
      opening.use(asyncResource('dat', order))
      throw new Error('no idx')
    }
    await expect(open()).rejects.toThrow('no idx')
    expect(order).toEqual(['dat'])
  })

  test('a moved stack is emptied and its successor owns all', async () => {
    const order: string[] = []
    const open = async () => {
      await using opening = new DisposeStack()
      opening.use(asyncResource('dat', order))
      return opening.move()
    }
    const owned = await open()
    expect(order).toEqual([])
    await owned[Symbol.asyncDispose]()
    expect(order).toEqual(['dat'])
  })

  test('goes on after a failure; one is thrown as is, several as AggregateError', async () => {
    const order: string[] = []
    const failing = (name: string) => () => {
      throw new Error(name)
    }
    const one = new DisposeStack()
    one.use(asyncResource('first', order))
    one.defer(failing('only'))
    await expect(one[Symbol.asyncDispose]()).rejects.toThrow('only')
    expect(order).toEqual(['first'])

    const two = new DisposeStack()
    two.defer(failing('a'))
    two.defer(failing('b'))
    await expect(two[Symbol.asyncDispose]()).rejects.toMatchObject({
      name: 'AggregateError',
      errors: [{ message: 'b' }, { message: 'a' }],
    })
  })

  test('a disposed or moved stack takes over nothing more', async () => {
    const disposed = new DisposeStack()
    await disposed[Symbol.asyncDispose]()
    expect(() => disposed.defer(() => {})).toThrow('disposed stack')
    const moved = new DisposeStack()
    moved.move()
    expect(() => moved.defer(() => {})).toThrow('disposed stack')
    expect(() => moved.move()).toThrow('disposed stack')
  })
})

function asyncResource(name: string, order: string[]): AsyncDisposable & { readonly name: string } {
  return {
    name,
    async [Symbol.asyncDispose]() {
      await undefined
      order.push(name)
    },
  }
}
