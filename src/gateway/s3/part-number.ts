import { PART_NUMBER_MAX } from '../../namespace/upload-record.ts'
import { invalidArgument } from './invalid-argument.ts'

/** The parameter `partNumber`. @throws {S3Error} InvalidArgument: not 1 to 10,000. */
export function parsePartNumber(text: string): number {
  const number = Number(text)
  if (/^\d{1,5}$/.test(text) && number >= 1 && number <= PART_NUMBER_MAX) return number
  const message = `Part number must be an integer between 1 and ${PART_NUMBER_MAX}, inclusive`
  throw invalidArgument(message, 'partNumber', text)
}
