/** Puts what the schema says of a value into words, at the place where it was written. */
import type { ErrorObject } from 'ajv'
import type { PolicyProblem } from './interface.ts'
import { allowedText, allowedWords, isPlainObject, POLICY_KEYS } from './language.ts'
import { nearestWord } from './nearest.ts'
import type { SchemaNode } from './schema.ts'
import { pointerStep, pointerSteps, type Document, type Position } from './toml.ts'

/** One mistake: `local.keep may not be "cash"; did you mean "cached"? Allowed: …`. */
export function describeMistake(violation: ErrorObject, document: Document): PolicyProblem {
  const { instancePath, keyword, data } = violation
  const node = violation.parentSchema as SchemaNode
  const names = pointerSteps(instancePath)
  if (keyword === 'additionalProperties') {
    const unknown = String((violation.params as { additionalProperty: string }).additionalProperty)
    const position = document.keys.get(instancePath + pointerStep(unknown))
    return placed(position, unknownName(unknown, names, node))
  }
  if (keyword === 'uniqueItems') {
    const { i, j } = violation.params as { i: number; j: number }
    const later = Math.max(i, j)
    const position = document.values.get(instancePath + pointerStep(later))
    const found = shown((data as unknown[])[later])
    return placed(position, { message: `${subject(names)} has ${found} twice`, found })
  }
  const position = document.values.get(instancePath) ?? document.keys.get(instancePath)
  return placed(position, wrongValue(violation, node, names))
}

type Words = Omit<PolicyProblem, 'line' | 'column'>

function wrongValue(violation: ErrorObject, node: SchemaNode, names: readonly string[]): Words {
  const { data, keyword } = violation
  const key = POLICY_KEYS.find(({ path }) => path.every((name, index) => name === names[index]))
  const isItem = key !== undefined && key.node.items === node
  const isWord = node.enum !== undefined
  // Who wrote neither a word nor a table is told of both.
  const isForm = key !== undefined && key.node !== node && names.length === key.path.length
  const allowed = allowedText(isForm && typeof data !== 'string' ? key.node : node)
  const found = keyword === 'maxItems' ? `a list of ${(data as unknown[]).length}` : shown(data)
  if (isItem) {
    const what = `${key.key} may not hold ${found}`
    return { message: what + advice(meantItem(data), allowed), found, allowed, ...meantItem(data) }
  }
  if (isWord) {
    const word = typeof data === 'string' ? nearestWord(data, allowedWords(node)) : undefined
    const meant = word === undefined ? {} : { meant: word }
    const what = `${subject(names)} may not be ${found}`
    return { message: what + advice(meant, allowed), found, allowed, ...meant }
  }
  if (node.properties !== undefined) {
    const name = subject(names)
    const what = `${name} must be a table, as in [${name}]`
    return { message: what + advice({}, allowed), found, allowed }
  }
  const meant = meantValue(data, node)
  const hint = meant.meant === undefined ? '' : `; did you mean ${meant.meant}?`
  const what = `${subject(names)} must be ${allowed}, not ${found}`
  return { message: what + hint, found, allowed, ...meant }
}

/** A key that the table at `names` does not have. */
function unknownName(unknown: string, names: readonly string[], node: SchemaNode): Words {
  const found = shown(unknown)
  const allowed = allowedText(node)
  if (node.patternProperties !== undefined) {
    const label = unknown.includes('=') ? meantItem(unknown) : { meant: `device=${unknown}` }
    const what = `${subject(names)} may not have the key ${found}`
    return { message: what + advice(label, allowed), found, allowed, ...label }
  }
  const here = allowedWords(node)
  const elsewhere = POLICY_KEYS.map(({ path }) => path.at(-1) as string)
  const other = elsewhere.includes(unknown) ? unknown : undefined
  const near = other === undefined ? nearestWord(unknown, here) : undefined
  const name = other ?? (near === undefined ? nearestWord(unknown, elsewhere) : undefined)
  const meant = near ?? POLICY_KEYS.find(({ path }) => path.at(-1) === name)?.key
  const hint = meant === undefined ? {} : { meant }
  const where = names.length === 0 ? 'at the top level' : `in [${subject(names)}]`
  const isAbove = near === undefined && meant !== undefined && !meant.includes('.')
  const place = isAbove ? ', above the first table' : ''
  const what = `unknown key ${found} ${where}`
  return { message: what + advice(hint, allowed, place), found, allowed, ...hint }
}

/** `; did you mean "x"? Allowed: …`, or `. Allowed: …`. */
function advice(meant: { readonly meant?: string }, allowed: string, place = ''): string {
  const hint = meant.meant === undefined ? '.' : `; did you mean "${meant.meant}"${place}?`
  return `${hint} Allowed: ${allowed}`
}

/** `region: eu` and `region eu` for `region=eu`. */
function meantItem(data: unknown): { readonly meant?: string } {
  if (typeof data !== 'string' || data.length > SHOWN_LENGTH_MAX) return {}
  const match = /^\s*([A-Za-z0-9][\w.-]*)\s*[:= ]+\s*(\S.*)$/.exec(data)
  return match ? { meant: `${match[1]}=${match[2]?.trimEnd()}` } : {}
}

/** What was probably meant for a list, a size or a flag, as it would be written. */
function meantValue(data: unknown, node: SchemaNode): { readonly meant?: string } {
  if (typeof data !== 'string' || data.length > SHOWN_LENGTH_MAX) return {}
  if (node.type === 'array') return { meant: `[${JSON.stringify(data)}]` }
  if (node.type === 'boolean') {
    if (/^\s*(?:true|yes|on)\s*$/i.test(data)) return { meant: 'true' }
    return /^\s*(?:false|no|off)\s*$/i.test(data) ? { meant: 'false' } : {}
  }
  if (node.type === 'integer') return /^\d{1,6}$/.test(data) ? { meant: data } : {}
  const size = /^\s*(\d[\d.]{0,14})\s*(?:([kmgt])(i?)b?|b|bytes?)?\s*$/i.exec(data)
  if (size) {
    const unit = size[2] === undefined ? 'B' : `${size[2].toUpperCase()}${size[3] ? 'i' : ''}B`
    return { meant: `"${Number(size[1])} ${unit}"` }
  }
  return /^\s*(?:un|no|none|inf)/i.test(data) ? { meant: '"unlimited"' } : {}
}

/** A key as it would be written: names that are not bare are quoted. */
function subject(names: readonly string[]): string {
  return names.map((name) => (/^[\w-]+$/.test(name) ? name : JSON.stringify(name))).join('.')
}

const SHOWN_LENGTH_MAX = 60

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (isPlainObject(value)) return 'a table'
  if (typeof value !== 'string') return String(value)
  const isLong = value.length > SHOWN_LENGTH_MAX
  return JSON.stringify(isLong ? `${value.slice(0, SHOWN_LENGTH_MAX)}…` : value)
}

function placed(position: Position | undefined, words: Words): PolicyProblem {
  const { line, column } = position ?? { line: 1, column: 1 }
  return { line, column, ...words }
}
