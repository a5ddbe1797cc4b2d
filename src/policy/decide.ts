/**
 * Decides what holds for a directory from the policies on the way up to the root. Pure: the same
 * policies give the same decision on every device, whatever its disk, its clock or its name, and
 * each value can be traced to the directory that set it (P2).
 */
import { hasCode } from '../errors.ts'
import { decodePolicy } from './canonical.ts'
import type { EffectivePolicy, FolderPolicy } from './interface.ts'
import { POLICY_KEYS, type PolicyKey, type PolicyValue } from './schema.ts'

/** The canonical policy of one directory. */
export interface PolicyLayer<Directory extends string = string> {
  readonly directory: Directory
  readonly policy: string
}

/** Why one key has its value. */
export interface DecidedValue<Directory extends string = string> {
  /** Dotted name, such as `conflicts.strategy`. */
  readonly key: string
  readonly value: PolicyValue
  /**
   * `set`: by `directory`. `default`: nobody sets it. `unreadable`: the policy of `directory`
   * cannot be read and might set it, so the value that keeps most data holds.
   */
  readonly reason: 'set' | 'default' | 'unreadable'
  readonly directory: Directory | undefined
}

/** What holds, and why. */
export interface PolicyDecision<Directory extends string = string> {
  readonly effective: EffectivePolicy
  /** One per key of the language, in its order. */
  readonly values: readonly DecidedValue<Directory>[]
  /** Policies that this version cannot read, nearest first. They need a person. */
  readonly unreadable: readonly { readonly directory: Directory; readonly message: string }[]
}

type Reading = { policy: FolderPolicy } | { message: string }

/** Texts repeat for every file below a folder, so that the last few readings are kept. */
const READINGS_KEPT_MAX = 64
const readings = new Map<string, Reading>()

function read(text: string): Reading {
  const known = readings.get(text)
  if (known !== undefined) return known
  const fresh = decode(text)
  const oldest = readings.size >= READINGS_KEPT_MAX ? readings.keys().next().value : undefined
  if (oldest !== undefined) readings.delete(oldest)
  readings.set(text, fresh)
  return fresh
}

function decode(text: string): Reading {
  try {
    return { policy: decodePolicy(text) }
  } catch (error) {
    if (!hasCode(error, 'POLICY_INVALID')) throw error
    return { message: error.message }
  }
}

function lookUp(policy: FolderPolicy, path: readonly string[]): PolicyValue | undefined {
  let value: unknown = policy
  for (const name of path) value = (value as Record<string, unknown> | undefined)?.[name]
  return value as PolicyValue | undefined
}

function decideKey<Directory extends string>(
  definition: PolicyKey,
  layers: readonly PolicyLayer<Directory>[],
): DecidedValue<Directory> {
  const { key } = definition
  for (const { directory, policy } of layers) {
    const reading = read(policy)
    if ('message' in reading) {
      return { key, value: definition.safest, reason: 'unreadable', directory }
    }
    const value = lookUp(reading.policy, definition.path)
    if (value !== undefined) return { key, value, reason: 'set', directory }
  }
  return { key, value: definition.default, reason: 'default', directory: undefined }
}

/**
 * Decides every key for the directory that `layers` belong to: the nearest directory that sets a
 * key decides it, else the default. Never throws: one unreadable policy must not stop a tree that
 * every device has to show alike.
 *
 * @param layers - Canonical policies from the directory up to the root, nearest first. Directories
 *   without a policy may be left out or have the empty text.
 */
export function decidePolicy<Directory extends string>(
  layers: readonly PolicyLayer<Directory>[],
): PolicyDecision<Directory> {
  const values = POLICY_KEYS.map((definition) => decideKey(definition, layers))
  const byKey = new Map(values.map(({ key, value }) => [key, value]))
  const unreadable = layers.flatMap(({ directory, policy }) => {
    const reading = read(policy)
    return 'message' in reading ? [{ directory, message: reading.message }] : []
  })
  const effective = {
    conflictStrategy: byKey.get('conflicts.strategy'),
    localKeep: byKey.get('local.keep'),
    historyDays: byKey.get('history.days'),
  } as EffectivePolicy
  return { effective, values, unreadable }
}
