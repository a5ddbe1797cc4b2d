/**
 * Reads TOML 1.0 (toml.io) into plain values that remember where they were written.
 *
 * The values are built here from the syntax tree and not by the parser's own conversion, which
 * drops a key called `__proto__` without a word; an unknown key must be an error (P1).
 */
import { parseTOML, ParseError, type AST } from 'toml-eslint-parser'

/** A place in a file. Both count from 1; columns are UTF-16 units. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** A document and the places of its parts, by JSON pointer (RFC 6901) such as `/local/keep`. */
export interface Document {
  readonly value: unknown
  readonly keys: ReadonlyMap<string, Position>
  readonly values: ReadonlyMap<string, Position>
}

/** Input that is not TOML, or goes beyond what a policy can need. */
export interface SyntaxProblem extends Position {
  readonly message: string
}

/** Tables and arrays within each other. The language needs two. */
const DEPTH_MAX = 8
const TOO_DEEP = `tables and lists within each other more than ${DEPTH_MAX - 1} deep`

type Table = Record<string, unknown>
type KeyPart = { name: string | number; position: Position }

class ProblemFound extends Error {
  readonly problem: SyntaxProblem

  constructor(problem: SyntaxProblem) {
    super(problem.message)
    this.problem = problem
  }
}

/** One step of a JSON pointer: `~` and `/` are escaped. */
export function pointerStep(name: string | number): string {
  return `/${String(name).replaceAll('~', '~0').replaceAll('/', '~1')}`
}

/** The names that a JSON pointer is made of. */
export function pointerSteps(pointer: string): string[] {
  const steps = pointer.split('/').slice(1)
  return steps.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function positionOf(node: { loc: AST.SourceLocation }): Position {
  return { line: node.loc.start.line, column: node.loc.start.column + 1 }
}

/** Builds the values of one document and notes the first place of each. */
class Builder {
  readonly keys = new Map<string, Position>()
  readonly values = new Map<string, Position>()
  readonly root: Table = Object.create(null) as Table

  fill(body: AST.TOMLTopLevelTable['body']): void {
    for (const node of body) {
      if (node.type === 'TOMLKeyValue') {
        this.#assign(this.root, '', node)
        continue
      }
      const names = node.key.keys.map((key) => positionOf(key))
      let nameIndex = 0
      const parts = node.resolvedKey.map((name) => {
        if (typeof name === 'string') nameIndex++
        return { name, position: names[nameIndex - 1] as Position }
      })
      const { table, pointer } = this.#descend(this.root, '', parts)
      for (const pair of node.body) this.#assign(table, pointer, pair)
    }
  }

  /** Walks into the table at `parts`, making what is missing on the way. */
  #descend(from: Table, at: string, parts: readonly KeyPart[]): { table: Table; pointer: string } {
    let table = from
    let pointer = at
    for (const [index, { name, position }] of parts.entries()) {
      pointer += pointerStep(name)
      if (pointer.split('/').length > DEPTH_MAX) this.#tooDeep(position)
      if (!this.keys.has(pointer)) this.keys.set(pointer, position)
      const isList = typeof parts[index + 1]?.name === 'number'
      table[name] ??= isList ? [] : (Object.create(null) as Table)
      table = table[name] as Table
    }
    return { table, pointer }
  }

  #assign(table: Table, pointer: string, pair: AST.TOMLKeyValue): void {
    const parts = pair.key.keys.map((key) => ({
      name: key.type === 'TOMLBare' ? key.name : key.value,
      position: positionOf(key),
    }))
    const last = parts.pop() as (typeof parts)[number]
    const owner = this.#descend(table, pointer, parts)
    const place = owner.pointer + pointerStep(last.name)
    this.keys.set(place, last.position)
    owner.table[last.name] = this.#value(pair.value, place)
  }

  #value(node: AST.TOMLContentNode, pointer: string): unknown {
    const position = positionOf(node)
    this.values.set(pointer, position)
    if (pointer.split('/').length > DEPTH_MAX) this.#tooDeep(position)
    if (node.type === 'TOMLArray') {
      return node.elements.map((child, index) => this.#value(child, pointer + pointerStep(index)))
    }
    if (node.type === 'TOMLInlineTable') {
      const table = Object.create(null) as Table
      for (const pair of node.body) this.#assign(table, pointer, pair)
      return table
    }
    if (node.value instanceof Date) {
      throw new ProblemFound({ ...position, message: 'a date has no meaning in a policy' })
    }
    return node.value
  }

  #tooDeep(position: Position): never {
    throw new ProblemFound({ ...position, message: TOO_DEEP })
  }
}

/** Reads one document. Never throws on any text. */
export function readToml(text: string): Document | { problem: SyntaxProblem } {
  const builder = new Builder()
  try {
    const [top] = parseTOML(text, { tomlVersion: '1.0.0' }).body
    builder.fill(top.body)
  } catch (error) {
    if (error instanceof ProblemFound) return { problem: error.problem }
    // The parser recurses once per closing bracket: thousands of them exhaust the stack.
    if (error instanceof RangeError) return { problem: { line: 1, column: 1, message: TOO_DEEP } }
    if (!(error instanceof ParseError)) throw error
    const { lineNumber: line, column, message } = error
    return { problem: { line, column: column + 1, message: `this is not TOML: ${message}` } }
  }
  return { value: builder.root, keys: builder.keys, values: builder.values }
}
