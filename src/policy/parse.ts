/**
 * Reads a policy file (`.wormhole.toml`) as people write it. Every mistake is found in one pass and
 * said with its place, what is wrong and what is allowed.
 */
import { isUtf8 } from 'node:buffer'
import { hasCode } from '../errors.ts'
import { canonicalPolicy, encodePolicy } from './canonical.ts'
import { describeMistake } from './mistakes.ts'
import type { FolderPolicy, PolicyProblem } from './interface.ts'
import { findViolations, POLICY_KEYS } from './language.ts'
import { pointerStep, pointerSteps, readToml, type Document, type Position } from './toml.ts'

/** The name of a policy file. It speaks for the directory it lies in and everything below. */
export const POLICY_FILE_NAME = '.wormhole.toml'
/** Largest policy file: comments included, four times what the canonical form may have. */
export const POLICY_FILE_SIZE_BYTES_MAX = 64 * 1024

/** A policy file without mistakes. */
export interface ParsedPolicy {
  readonly policy: FolderPolicy
  /** The canonical text, for the directory's `P` register. */
  readonly canonical: string
  /**
   * Line (from 1) of each key that is set, by dotted name, for `policy explain`; of one device's
   * entry of a key, by `local.keep.device=nas`.
   */
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
    const problems = violations.map((violation) => describeMistake(violation, document))
    problems.sort((a, b) => a.line - b.line || a.column - b.column)
    return { problems }
  }
  const policy = canonicalPolicy(document.value)
  try {
    return { policy, canonical: encodePolicy(policy), lines: linesOf(document) }
  } catch (error) {
    if (!hasCode(error, 'LIMIT_EXCEEDED')) throw error
    return rejected({ line: 1, column: 1 }, `this is too much for one folder: ${error.message}`)
  }
}

function linesOf(document: Document): Map<string, number> {
  const lines = new Map<string, number>()
  for (const { key, path } of POLICY_KEYS) {
    const pointer = path.map(pointerStep).join('')
    const position = document.keys.get(pointer)
    if (position === undefined) continue
    lines.set(key, position.line)
    for (const [place, { line }] of document.keys) {
      if (!place.startsWith(`${pointer}/`)) continue
      lines.set(`${key}.${pointerSteps(place.slice(pointer.length)).join('.')}`, line)
    }
  }
  return lines
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
