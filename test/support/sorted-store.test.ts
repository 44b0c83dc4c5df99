import { testMetadataStore } from '../conformance/metadata-store.ts'
import { SortedStore } from './sorted-store.ts'

testMetadataStore('SortedStore', async () => {
  const store = new SortedStore()
  return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
})
