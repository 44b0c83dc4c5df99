import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { testMetadataStore } from '../conformance/metadata-store.ts'

testMetadataStore('MemoryStore', async () => {
  const store = new MemoryStore()
  return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
})
