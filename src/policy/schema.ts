/**
 * The language of policy files as one JSON schema: every key, what it allows, its default, what it
 * means. Parsing, decoding, messages and decisions are all derived from it, so a new key is one
 * entry here, one field in `interface.ts` and one line in the README's table.
 */
import { createRequire } from 'node:module'
import type { ErrorObject, ValidateFunction } from 'ajv'
import type { FolderPolicy } from './interface.ts'

/** What a key may hold. */
export type PolicyValue = string | number

/**
 * A table (`properties`), or a key: one of a few words (`enum`, best first) or a whole number
 * (`minimum`, `maximum`), with its default.
 */
export interface SchemaNode {
  readonly type?: 'object' | 'integer'
  readonly additionalProperties?: false
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly enum?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
  /** What holds where no folder sets the key. */
  readonly default?: PolicyValue
  /** What holds where a policy cannot be read: the value that keeps most data. */
  readonly safest?: PolicyValue
  readonly description: string
}

/** Longest time that history may be kept, about a century. */
const HISTORY_DAYS_MAX = 36_500

/** JSON schema (draft 7, with the annotation `safest`) of one folder's policy. */
export const POLICY_SCHEMA: SchemaNode = {
  type: 'object',
  additionalProperties: false,
  description: 'The policy of a folder and everything below it.',
  properties: {
    conflicts: {
      type: 'object',
      additionalProperties: false,
      description: 'What happens when two devices change one thing without knowing of each other.',
      properties: {
        strategy: {
          enum: ['copies', 'last-writer-wins'],
          default: 'copies',
          safest: 'copies',
          description: 'Keep every version in the tree, or show the latest and keep the others.',
        },
      },
    },
    local: {
      type: 'object',
      additionalProperties: false,
      description: 'What this folder means for the disk of each device.',
      properties: {
        keep: {
          enum: ['always', 'cached'],
          default: 'always',
          safest: 'always',
          description:
            'Fetch everything and keep it, or fetch on read and keep while there is room.',
        },
      },
    },
    history: {
      type: 'object',
      additionalProperties: false,
      description: 'How long versions that were replaced can still be read.',
      properties: {
        days: {
          type: 'integer',
          minimum: 1,
          maximum: HISTORY_DAYS_MAX,
          default: 30,
          safest: HISTORY_DAYS_MAX,
          description: 'Days after which a replaced version leaves the history.',
        },
      },
    },
  },
}

/** One key of the language, such as `conflicts.strategy`. */
export interface PolicyKey {
  /** Dotted name. */
  readonly key: string
  readonly path: readonly string[]
  readonly default: PolicyValue
  readonly safest: PolicyValue
}

function collectKeys(node: SchemaNode, path: readonly string[]): PolicyKey[] {
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([name, child]) =>
      collectKeys(child, [...path, name]),
    )
  }
  const { default: normal, safest } = node
  if (normal === undefined || safest === undefined) {
    throw new TypeError(`policy key ${path.join('.')} needs default and safest`)
  }
  return [{ key: path.join('.'), path, default: normal, safest }]
}

/** Every key, in the order of the schema. */
export const POLICY_KEYS: readonly PolicyKey[] = collectKeys(POLICY_SCHEMA, [])

let compiled: ValidateFunction<FolderPolicy> | undefined

/** Loaded with the first policy: ajv and its compiler cost 100 ms, and most starts meet none. */
function validator(): ValidateFunction<FolderPolicy> {
  if (compiled) return compiled
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof import('ajv')
  const ajv = new Ajv({ allErrors: true, verbose: true })
  ajv.addKeyword({ keyword: 'safest', schemaType: ['string', 'number'] })
  compiled = ajv.compile<FolderPolicy>(POLICY_SCHEMA)
  return compiled
}

/** What is wrong with a value, in ajv's terms; none when it is a policy. */
export function findViolations(value: unknown): ErrorObject[] {
  const validate = validator()
  return validate(value) ? [] : [...(validate.errors ?? [])]
}
