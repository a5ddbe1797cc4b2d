/**
 * Reads the schema: its keys, what is wrong with a value, the canonical form of a value, and what a
 * key allows in words.
 */
import { createRequire } from 'node:module'
import type { ErrorObject, ValidateFunction } from 'ajv'
import type { FolderPolicy } from './interface.ts'
import { POLICY_SCHEMA, type PolicyValue, type SchemaNode } from './schema.ts'
import { sizeFromText } from './size.ts'

/** One key of the language, such as `conflicts.strategy`. */
export interface PolicyKey {
  /** Dotted name. */
  readonly key: string
  readonly path: readonly string[]
  readonly default: PolicyValue
  readonly safest: PolicyValue
  /** Holds sizes: texts such as `4 GiB` become bytes. */
  readonly isSize: boolean
  /** A key beside it that this version does not know makes it safest. */
  readonly isCautious: boolean
  readonly node: SchemaNode
}

function collectKeys(
  node: SchemaNode,
  path: readonly string[],
  isCautious: boolean,
): readonly PolicyKey[] {
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([name, child]) =>
      collectKeys(child, [...path, name], node['x-cautious'] === true),
    )
  }
  const { default: normal, 'x-safest': safest } = node
  const key = path.join('.')
  if (normal === undefined || safest === undefined) {
    throw new TypeError(`policy key ${key} needs default and x-safest`)
  }
  const isSize = Array.isArray(node.type) && node.pattern?.includes('unlimited') === true
  return [{ key, path, default: normal, safest, isSize, isCautious, node }]
}

/** Every key, in the order of the schema. */
export const POLICY_KEYS: readonly PolicyKey[] = collectKeys(POLICY_SCHEMA, [], false)

let compiled: ValidateFunction<FolderPolicy> | undefined

/** Loaded with the first policy: ajv and its compiler cost 100 ms, and most starts meet none. */
function validator(): ValidateFunction<FolderPolicy> {
  if (compiled) return compiled
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof import('ajv')
  const ajv = new Ajv({ allErrors: true, verbose: true, allowUnionTypes: true })
  ajv.addVocabulary(['x-safest', 'x-allowed', 'x-pending', 'x-pending-words', 'x-cautious'])
  compiled = ajv.compile<FolderPolicy>(POLICY_SCHEMA)
  return compiled
}

/**
 * What is wrong with a value, in ajv's terms; none when it is a policy. Where a key has several
 * forms, only what is wrong in the form that was meant: a table, or a word.
 */
export function findViolations(value: unknown): ErrorObject[] {
  const validate = validator()
  if (validate(value)) return []
  const errors = validate.errors ?? []
  const choices = errors.filter(({ keyword }) => keyword === 'anyOf')
  return errors.filter((error) => {
    const choice = choices.find(({ schemaPath }) => error.schemaPath.startsWith(`${schemaPath}/`))
    if (choice === undefined) return error.keyword !== 'anyOf'
    const isTable = isPlainObject(choice.data)
    return error.schemaPath.startsWith(`${choice.schemaPath}/${isTable ? 1 : 0}/`)
  })
}

/** Whether a value is a table of TOML, or an object of JSON. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The value of one key as the register holds it. */
export function canonicalValue(key: PolicyKey, value: PolicyValue): PolicyValue {
  return key.isSize && typeof value === 'string' ? sizeFromText(value) : value
}

/** What a node allows, in words: `"always", "cached"`, `a whole number from 1 to 100`. */
export function allowedText(node: SchemaNode): string {
  const text = node['x-allowed']
  if (text !== undefined) return text
  if (node.enum !== undefined) return node.enum.map((word) => `"${word}"`).join(', ')
  if (node.type === 'boolean') return 'true or false'
  if (node.type === 'integer') return `a whole number from ${node.minimum} to ${node.maximum}`
  return Object.keys(node.properties ?? {})
    .map((word) => `"${word}"`)
    .join(', ')
}

/** The words among what a node allows, for finding the one that was meant. */
export function allowedWords(node: SchemaNode): readonly string[] {
  if (node.anyOf !== undefined) return node.anyOf.flatMap((form) => form.enum ?? [])
  return node.enum ?? Object.keys(node.properties ?? {})
}

/** What of a key with this value is not enforced yet; undefined when all of it is. */
export function pendingText(key: PolicyKey, value: PolicyValue): string | undefined {
  const { 'x-pending': text, 'x-pending-words': words } = key.node
  if (text === undefined || words === undefined) return text
  const set = isPlainObject(value) ? Object.values(value) : [value]
  return set.some((word) => words.includes(String(word))) ? text : undefined
}
