// A process that sends back every handle it is sent. It ends with its parent.
process.on('message', (message, handle) => {
  process.send?.(message, handle)
})
