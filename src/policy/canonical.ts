/**
 * The canonical form of a policy: JSON text with sorted keys and no blanks, what lies in a
 * directory's `P` register. Equal policies have equal text, so an edit that changes only comments
 * or the order of keys writes nothing.
 */
import type { ErrorObject } from 'ajv'
import { WormholeError } from '../errors.ts'
import type { FolderPolicy } from './interface.ts'
import { canonicalValue, findViolations, isPlainObject, POLICY_KEYS } from './language.ts'
import type { PolicyValue } from './schema.ts'

/** Largest canonical text, in UTF-8 bytes: the bound of the `P` register. */
export const CANONICAL_SIZE_BYTES_MAX = 16 * 1024
/** Objects and lists within each other; far more than any version of the language needs. */
const DEPTH_MAX = 32

/** What a register says to this version of the program. */
export interface StoredPolicy {
  /** What is set, by dotted name. */
  readonly values: ReadonlyMap<string, PolicyValue>
  /** Keys with a value that this version does not know. */
  readonly unreadable: ReadonlySet<string>
  /** Dotted names that this version does not know. */
  readonly unknown: readonly string[]
}

/** JSON text with the keys of every object sorted by UTF-16 unit. */
function toSortedJson(value: unknown, depth = 0): string {
  if (depth > DEPTH_MAX) refuse(`it is more than ${DEPTH_MAX} deep`)
  if (Array.isArray(value)) return `[${value.map((item) => toSortedJson(item, depth + 1))}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const pairs = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => `${JSON.stringify(key)}:${toSortedJson(item, depth + 1)}`)
  return `{${pairs.join(',')}}`
}

/** A policy as it was written, with every value in the one form that it has in a register. */
export function canonicalPolicy(written: unknown): FolderPolicy {
  const policy = structuredClone(written) as Record<string, unknown>
  for (const key of POLICY_KEYS) {
    const owner = lookUp(policy, key.path.slice(0, -1))
    const name = key.path.at(-1) as string
    if (!isPlainObject(owner) || owner[name] === undefined) continue
    owner[name] = canonicalValue(key, owner[name] as PolicyValue)
  }
  return policy as FolderPolicy
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
 * Keys and values of a newer version are named and do not keep the others from being read.
 *
 * @throws {WormholeError} `POLICY_INVALID` for what no version writes: no JSON object, another
 *   order of keys, blanks, repeated keys, too long, too deep.
 */
export function decodePolicy(text: string): StoredPolicy {
  if (text === '') return { values: new Map(), unreadable: new Set(), unknown: [] }
  // A character takes at least one byte, so that a long text is refused before it is parsed.
  if (text.length > CANONICAL_SIZE_BYTES_MAX) refuse(`it has ${text.length} characters`)
  let policy: unknown
  try {
    policy = JSON.parse(text)
  } catch (error) {
    refuse('it is not JSON', error)
  }
  if (!isPlainObject(policy)) refuse('it is not an object')
  if (toSortedJson(policy) !== text) refuse('its keys are not in canonical order')
  const { unreadable, unknown } = judge(findViolations(policy))
  const values = new Map<string, PolicyValue>()
  for (const key of POLICY_KEYS) {
    const value = unreadable.has(key.key) ? undefined : lookUp(policy, key.path)
    if (value === undefined) continue
    if (canonicalValue(key, value as PolicyValue) === value)
      values.set(key.key, value as PolicyValue)
    else unreadable.add(key.key)
  }
  return { values, unreadable, unknown }
}

/** Which keys the violations speak of; names that are no keys of this version apart. */
function judge(violations: readonly ErrorObject[]): { unreadable: Set<string>; unknown: string[] } {
  const unreadable = new Set<string>()
  const unknown: string[] = []
  for (const { instancePath, keyword, params } of violations) {
    const steps = instancePath.split('/').slice(1)
    const about = POLICY_KEYS.filter(({ path }) =>
      path.slice(0, steps.length).every((name, index) => name === steps[index]),
    )
    const isTable = about.every(({ path }) => path.length > steps.length)
    if (keyword === 'additionalProperties' && isTable) {
      const name = (params as { additionalProperty: string }).additionalProperty
      unknown.push([...steps, name].join('.'))
    } else {
      for (const { key } of about) unreadable.add(key)
    }
  }
  return { unreadable, unknown }
}

function lookUp(policy: unknown, path: readonly string[]): unknown {
  let value = policy
  for (const name of path) value = isPlainObject(value) ? value[name] : undefined
  return value
}

function refuse(why: string, cause?: unknown): never {
  throw new WormholeError('POLICY_INVALID', `a stored policy cannot be read: ${why}`, { cause })
}
