/**
 * Reads a policy file (`.wormhole.toml`) as people write it. Every mistake is found in one pass and
 * said with its place, what is wrong and what is allowed.
 */
import type { ErrorObject } from 'ajv'
import { isUtf8 } from 'node:buffer'
import { encodePolicy } from './canonical.ts'
import type { FolderPolicy, PolicyProblem } from './interface.ts'
import { nearestWord } from './nearest.ts'
import { findViolations, POLICY_KEYS, type SchemaNode } from './schema.ts'
import { pointerStep, readToml, type Document, type Position } from './toml.ts'

/** The name of a policy file. It speaks for the directory it lies in and everything below. */
export const POLICY_FILE_NAME = '.wormhole.toml'
/** Largest policy file: comments included, four times what the canonical form may have. */
export const POLICY_FILE_SIZE_BYTES_MAX = 64 * 1024

/** A policy file without mistakes. */
export interface ParsedPolicy {
  readonly policy: FolderPolicy
  /** The canonical text, for the directory's `P` register. */
  readonly canonical: string
  /** Line (from 1) of each key that is set, by dotted name, for `policy explain`. */
  readonly lines: ReadonlyMap<string, number>
}

/** A policy file with mistakes, in the order of the file; at least one. */
export interface RejectedPolicy {
  readonly problems: readonly PolicyProblem[]
}

/** Reads the bytes of a policy file. Never throws on any bytes; does not keep them. */
export function parsePolicy(bytes: Uint8Array): ParsedPolicy | RejectedPolicy {
  if (bytes.length > POLICY_FILE_SIZE_BYTES_MAX) {
    const limit = `at most ${POLICY_FILE_SIZE_BYTES_MAX} are allowed`
    return rejected({ line: 1, column: 1 }, `the file has ${bytes.length} bytes, ${limit}`)
  }
  if (!isUtf8(bytes)) return rejected(findBadLine(bytes), 'the file is not UTF-8 text')
  const document = readToml(new TextDecoder().decode(bytes))
  if ('problem' in document) return { problems: [document.problem] }
  const violations = findViolations(document.value)
  if (violations.length > 0) {
    const problems = violations.map((violation) => explain(violation, document))
    problems.sort((a, b) => a.line - b.line || a.column - b.column)
    return { problems }
  }
  const policy = document.value as FolderPolicy
  const lines = new Map<string, number>()
  for (const { key, path } of POLICY_KEYS) {
    const position = document.keys.get(path.map(pointerStep).join(''))
    if (position !== undefined) lines.set(key, position.line)
  }
  return { policy, canonical: encodePolicy(policy), lines }
}

/** One problem as compilers print it: `file:line:column: what`. */
export function formatProblem(file: string, problem: PolicyProblem): string {
  return `${file}:${problem.line}:${problem.column}: ${problem.message}`
}

function rejected(position: Position, message: string): RejectedPolicy {
  return { problems: [{ ...position, message }] }
}

/** The first line that is not UTF-8. */
function findBadLine(bytes: Uint8Array): Position {
  let line = 1
  for (let start = 0; start < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, start)
    const end = newline === -1 ? bytes.length : newline
    if (!isUtf8(bytes.subarray(start, end))) break
    start = end + 1
  }
  return { line, column: 1 }
}

/** Puts what the schema says into words, at the place where it was written. */
function explain(violation: ErrorObject, document: Document): PolicyProblem {
  const { instancePath, keyword, data } = violation
  const names = instancePath.split('/').slice(1)
  const dotted = names.join('.')
  const schema = violation.parentSchema as SchemaNode
  if (keyword === 'additionalProperties') {
    const unknown = String((violation.params as { additionalProperty: string }).additionalProperty)
    const position = document.keys.get(instancePath + pointerStep(unknown))
    return { ...placed(position), message: unknownKey(unknown, names, schema) }
  }
  const position = document.values.get(instancePath) ?? document.keys.get(instancePath)
  if (keyword === 'enum') {
    const allowed = schema.enum ?? []
    const meant = typeof data === 'string' ? nearestWord(data, allowed) : undefined
    const message = `${dotted} may not be ${shown(data)}${advice(meant, allowed)}`
    return { ...placed(position), message }
  }
  if (schema.type === 'integer') {
    const range = `a whole number from ${schema.minimum} to ${schema.maximum}`
    return { ...placed(position), message: `${dotted} must be ${range}, not ${shown(data)}` }
  }
  const keys = Object.keys(schema.properties ?? {})
  const message = `${dotted} must be a table, as in [${dotted}]${advice(undefined, keys)}`
  return { ...placed(position), message }
}

function unknownKey(unknown: string, names: readonly string[], schema: SchemaNode): string {
  const here = Object.keys(schema.properties ?? {})
  const where = names.length === 0 ? 'at the top level' : `in [${names.join('.')}]`
  const elsewhere = POLICY_KEYS.find(({ path }) => path.at(-1) === unknown)?.key
  const meant = nearestWord(unknown, here) ?? elsewhere
  return `unknown key ${shown(unknown)} ${where}${advice(meant, here)}`
}

function advice(meant: string | undefined, allowed: readonly string[]): string {
  const hint = meant === undefined ? '.' : `; did you mean "${meant}"?`
  return `${hint} Allowed: ${allowed.map((word) => `"${word}"`).join(', ')}`
}

const SHOWN_LENGTH_MAX = 60

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a table'
  if (typeof value !== 'string') return String(value)
  const isLong = value.length > SHOWN_LENGTH_MAX
  return JSON.stringify(isLong ? `${value.slice(0, SHOWN_LENGTH_MAX)}…` : value)
}

function placed(position: Position | undefined): Position {
  return position ?? { line: 1, column: 1 }
}
