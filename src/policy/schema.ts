/**
 * The language of policy files as one JSON schema: every key, what it allows, its default, what it
 * means. Parsing, decoding, messages and decisions are all derived from it, so a new key is one
 * entry here, one field in `interface.ts` and one line in the README's table.
 */
import { Ajv, type ErrorObject } from 'ajv'
import type { FolderPolicy } from './interface.ts'

/** A table (`properties`) or a key with its allowed values (`enum`, best first) and default. */
export interface SchemaNode {
  readonly type?: 'object'
  readonly additionalProperties?: false
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly enum?: readonly string[]
  /** What holds where no folder sets the key. */
  readonly default?: string
  /** What holds where a policy cannot be read: the value that keeps most data. */
  readonly safest?: string
  readonly description: string
}

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
  },
}

/** One key of the language, such as `conflicts.strategy`. */
export interface PolicyKey {
  /** Dotted name. */
  readonly key: string
  readonly path: readonly string[]
  readonly allowed: readonly string[]
  readonly default: string
  readonly safest: string
}

function collectKeys(node: SchemaNode, path: readonly string[]): PolicyKey[] {
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([name, child]) =>
      collectKeys(child, [...path, name]),
    )
  }
  const { enum: allowed, default: normal, safest } = node
  if (allowed === undefined || normal === undefined || safest === undefined) {
    throw new TypeError(`policy key ${path.join('.')} needs enum, default and safest`)
  }
  return [{ key: path.join('.'), path, allowed, default: normal, safest }]
}

/** Every key, in the order of the schema. */
export const POLICY_KEYS: readonly PolicyKey[] = collectKeys(POLICY_SCHEMA, [])

const ajv = new Ajv({ allErrors: true, verbose: true })
ajv.addKeyword({ keyword: 'safest', schemaType: 'string' })
const validate = ajv.compile<FolderPolicy>(POLICY_SCHEMA)

/** What is wrong with a value, in ajv's terms; none when it is a policy. */
export function findViolations(value: unknown): ErrorObject[] {
  return validate(value) ? [] : [...(validate.errors ?? [])]
}
