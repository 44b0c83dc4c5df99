/** What errors look like, for the description of a route. */
export const ERROR_SCHEMA = {
  type: 'object',
  required: ['detail', 'code'],
  properties: {
    detail: { type: 'string', description: 'What is wrong, in words' },
    code: { type: 'string', description: 'One of docs/ERRORS.md, or INTERNAL' },
  },
} as const

/** Of a route that can fail with these statuses. */
export function errorSchemas(...statuses: readonly number[]) {
  const described = statuses.map((status) => {
    return [status, { description: DESCRIPTIONS[status] ?? 'An error', ...ERROR_SCHEMA }]
  })
  return Object.fromEntries(described) as Record<number, typeof ERROR_SCHEMA>
}

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'The request cannot be understood',
  404: 'There is no such thing',
  409: 'It cannot be done as things are',
  412: 'A condition of the request does not hold',
  413: 'The body is too large',
  415: 'The body is of the wrong type',
  416: 'The range lies behind the end',
  422: 'A parameter is missing or has a value that cannot be used',
  500: 'It failed; the reason is given',
  503: 'It cannot be done now; try again',
}
