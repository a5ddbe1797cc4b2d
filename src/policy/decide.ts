/**
 * Decides what holds for a directory from the policies on the way up to the root. Pure: the same
 * policies and labels give the same decision on every device, whatever its disk or clock, and each
 * value can be traced to the directory that set it (P2). Labels count for `local.keep` only, which
 * says what each device does for itself; all else is the same everywhere.
 */
import { hasCode } from '../errors.ts'
import { decodePolicy, type StoredPolicy } from './canonical.ts'
import type { DeviceLabels, EnforcedValues, KeepWord } from './interface.ts'
import { isPlainObject, pendingText, POLICY_KEYS, type PolicyKey } from './language.ts'
import type { PolicyValue } from './schema.ts'

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
  /** The label, or `default`, that decided within the directory's table of devices. */
  readonly label?: string
  /** What this version does not do of it. */
  readonly pending?: string
}

/** What holds, and why. */
export interface PolicyDecision<Directory extends string = string> {
  /** One per key of the language, in its order. */
  readonly values: readonly DecidedValue<Directory>[]
  /** What this version cannot read of the policies, nearest first. It needs a person. */
  readonly unreadable: readonly { readonly directory: Directory; readonly message: string }[]
}

type Reading = { stored: StoredPolicy } | { message: string }

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
    return { stored: decodePolicy(text) }
  } catch (error) {
    if (!hasCode(error, 'POLICY_INVALID')) throw error
    return { message: error.message }
  }
}

/** Whether a policy may set a key in a way that this version cannot read. */
function hidesKey(reading: Reading, { key, path, isCautious }: PolicyKey): boolean {
  if ('message' in reading) return true
  const { unreadable, unknown } = reading.stored
  const table = `${path.slice(0, -1).join('.')}.`
  return unreadable.has(key) || (isCautious && unknown.some((name) => name.startsWith(table)))
}

function hasLabel(labels: DeviceLabels, expression: string): boolean {
  const at = expression.indexOf('=')
  return labels[expression.slice(0, at)] === expression.slice(at + 1)
}

/** The words of `local.keep`, the one that keeps most first. */
const KEEPS: readonly KeepWord[] = ['always', 'cached', 'streamed']

/** What a table of devices says to one of them; nothing when no label fits. */
function chooseForDevice(
  value: Readonly<Record<string, string>>,
  labels: DeviceLabels,
): { readonly value: string; readonly label: string } | undefined {
  const fitting = Object.entries(value).filter(
    ([label]) => label !== 'default' && hasLabel(labels, label),
  )
  for (const word of KEEPS) {
    const found = fitting.find(([, keep]) => keep === word)
    if (found) return { value: word, label: found[0] }
  }
  const rest = value['default']
  return rest === undefined ? undefined : { value: rest, label: 'default' }
}

function decideKey<Directory extends string>(
  definition: PolicyKey,
  layers: readonly PolicyLayer<Directory>[],
  labels: DeviceLabels,
): DecidedValue<Directory> {
  const { key } = definition
  for (const { directory, policy } of layers) {
    const reading = read(policy)
    if (hidesKey(reading, definition)) {
      return { key, value: definition.safest, reason: 'unreadable', directory }
    }
    const value = 'stored' in reading ? reading.stored.values.get(key) : undefined
    if (value === undefined) continue
    if (!isPlainObject(value)) return { key, value, reason: 'set', directory }
    const chosen = chooseForDevice(value as Record<string, string>, labels)
    if (chosen) return { key, reason: 'set', directory, ...chosen }
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
 * @param labels - Of the device that is asked about.
 */
export function decidePolicy<Directory extends string>(
  layers: readonly PolicyLayer<Directory>[],
  labels: DeviceLabels = {},
): PolicyDecision<Directory> {
  const values = POLICY_KEYS.map((definition) => {
    const decided = decideKey(definition, layers, labels)
    const pending = pendingText(definition, decided.value)
    return pending === undefined ? decided : { ...decided, pending }
  })
  const unreadable = layers.flatMap(({ directory, policy }) =>
    complaints(read(policy)).map((message) => ({ directory, message })),
  )
  return { values, unreadable }
}

function complaints(reading: Reading): string[] {
  if ('message' in reading) return [reading.message]
  const { unreadable, unknown } = reading.stored
  const values = [...unreadable].map((key) => `${key} has a value that this version does not know`)
  return [...values, ...unknown.map((name) => `${name} is a key that this version does not know`)]
}

const KEYS = new Map(POLICY_KEYS.map((definition) => [definition.key, definition]))

/** Decides one key, as `decidePolicy` does. For what is asked often. */
export function decideValue<Key extends keyof EnforcedValues>(
  key: Key,
  policies: readonly string[],
  labels: DeviceLabels = {},
): EnforcedValues[Key] {
  const layers = policies.map((policy) => ({ directory: '', policy }))
  const { value } = decideKey(KEYS.get(key) as PolicyKey, layers, labels)
  return value as EnforcedValues[Key]
}
