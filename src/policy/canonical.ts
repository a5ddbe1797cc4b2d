/**
 * The canonical form of a policy: JSON text with sorted keys and no blanks, what lies in a
 * directory's `P` register. Equal policies have equal text, so an edit that changes only comments
 * or the order of keys writes nothing.
 */
import { WormholeError } from '../errors.ts'
import type { FolderPolicy } from './interface.ts'
import { findViolations } from './schema.ts'

/** Largest canonical text, in UTF-8 bytes: the bound of the `P` register. */
export const CANONICAL_SIZE_BYTES_MAX = 16 * 1024

/** JSON text with the keys of every object sorted by UTF-16 unit. */
function toSortedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toSortedJson).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const pairs = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${pairs.map(([key, item]) => `${JSON.stringify(key)}:${toSortedJson(item)}`).join(',')}}`
}

/**
 * The canonical text of a valid policy; `{}` when it sets nothing.
 *
 * @throws {WormholeError} `LIMIT_EXCEEDED` above `CANONICAL_SIZE_BYTES_MAX`.
 */
export function encodePolicy(policy: FolderPolicy): string {
  const text = toSortedJson(policy)
  const sizeBytes = Buffer.byteLength(text)
  if (sizeBytes > CANONICAL_SIZE_BYTES_MAX) {
    const limit = `at most ${CANONICAL_SIZE_BYTES_MAX} are allowed`
    throw new WormholeError('LIMIT_EXCEEDED', `the policy has ${sizeBytes} bytes, ${limit}`)
  }
  return text
}

/**
 * Reads a canonical text. The empty text (a directory whose policy file was removed) sets nothing.
 *
 * @throws {WormholeError} `POLICY_INVALID` for anything that `encodePolicy` would not have written:
 *   no JSON, unknown keys or values, another order of keys, blanks, too long.
 */
export function decodePolicy(text: string): FolderPolicy {
  if (text === '') return {}
  // A character takes at least one byte, so that a long text is refused before it is parsed.
  if (text.length > CANONICAL_SIZE_BYTES_MAX) refuse(`it has ${text.length} characters`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    refuse('it is not JSON', error)
  }
  const [violation] = findViolations(value)
  if (violation !== undefined) {
    refuse(`${violation.instancePath || 'the policy'} ${violation.message ?? 'is not allowed'}`)
  }
  const policy = value as FolderPolicy
  if (toSortedJson(policy) !== text) refuse('its keys are not in canonical order')
  return policy
}

function refuse(why: string, cause?: unknown): never {
  throw new WormholeError('POLICY_INVALID', `a stored policy cannot be read: ${why}`, { cause })
}
