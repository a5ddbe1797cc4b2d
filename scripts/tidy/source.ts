/**
 * Just enough of a TypeScript scanner for checks on text: what is code, what is a comment, what is
 * inside a string, and what a module imports. Lines and columns stay where they were.
 */

/** One source text in three forms of equal length and equal line breaks. */
export interface Source {
  /** As written. */
  readonly text: string
  /** Comments are blanks. */
  readonly code: string
  /** Comments and the insides of strings, templates and regular expressions are blanks. */
  readonly bare: string
}

/** After these a slash starts a regular expression; after a value it divides. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|await|yield))\s*$/

/** Where the string or regular expression that starts at `start` ends (exclusive). */
function endOfQuoted(text: string, start: number, quote: string): number {
  let isInClass = false
  for (let at = start + 1; at < text.length; at++) {
    const character = text[at]
    if (character === '\\') at++
    else if (character === '\n') return at
    else if (quote === '/' && character === '[') isInClass = true
    else if (quote === '/' && character === ']') isInClass = false
    else if (character === quote && !isInClass) return at + 1
  }
  return text.length
}

/** Where the literal part of a template that starts at `start` ends: after a backtick or `${`. */
function endOfTemplate(text: string, start: number): number {
  for (let at = start; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '`') return at + 1
    else if (text[at] === '$' && text[at + 1] === '{') return at + 2
  }
  return text.length
}

function endOfComment(text: string, start: number): number {
  const isBlock = text[start + 1] === '*'
  const end = text.indexOf(isBlock ? '*/' : '\n', start + 2)
  if (end === -1) return text.length
  return isBlock ? end + 2 : end
}

const blank = (part: string): string => part.replaceAll(/[^\n]/g, ' ')
/** Keeps the first and last character, so that `''` still looks like a string. */
const hollow = (part: string): string =>
  part.length < 2 ? part : `${part[0]}${blank(part.slice(1, -1))}${part.at(-1)}`

/** Scans a text. Total: whatever it is given, the three forms have equal length. */
export function scan(text: string): Source {
  let code = ''
  let bare = ''
  /** Open braces per template that we are inside of, innermost last. */
  const templates: number[] = []
  const keep = (part: string, bareForm: string): void => {
    code += part
    bare += bareForm
  }
  for (let at = 0; at < text.length;) {
    const character = text[at] as string
    const next = text[at + 1]
    let end = at + 1
    if (character === '/' && (next === '/' || next === '*')) {
      end = endOfComment(text, at)
      code += blank(text.slice(at, end))
      bare += blank(text.slice(at, end))
      at = end
      continue
    }
    const isRegex = character === '/' && BEFORE_REGEX.test(bare.slice(-40))
    if (character === "'" || character === '"' || isRegex) {
      end = endOfQuoted(text, at, character)
      keep(text.slice(at, end), hollow(text.slice(at, end)))
    } else if (character === '`') {
      end = endOfTemplate(text, at + 1)
      keep(text.slice(at, end), hollow(text.slice(at, end)))
      if (text[end - 1] === '{') templates.push(0)
    } else if (character === '}' && templates.at(-1) === 0) {
      end = endOfTemplate(text, at + 1)
      keep(text.slice(at, end), hollow(text.slice(at, end)))
      if (text[end - 1] === '`') templates.pop()
    } else {
      const depth = templates.length - 1
      if (character === '{' && depth >= 0) templates[depth] = (templates[depth] as number) + 1
      if (character === '}' && depth >= 0) templates[depth] = (templates[depth] as number) - 1
      keep(character, character)
    }
    at = end
  }
  return { text, code, bare }
}

/** One import of a module, static or dynamic. */
export interface Import {
  readonly specifier: string
  /** From 1. */
  readonly line: number
  /** The names in braces; undefined when the whole module or a default is taken. */
  readonly names: readonly string[] | undefined
  readonly isTypeOnly: boolean
}

const STATIC = /^(?:import|export)\s+(type\s+)?([^'";]*?)\bfrom\s*'([^']+)'/gm
const BARE = /^import\s*'([^']+)'/gm
const DYNAMIC = /(typeof\s+)?\bimport\(\s*'([^']+)'\s*\)/g

function lineAt(text: string, index: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at !== -1 && at < index; at = text.indexOf('\n', at + 1)) line++
  return line
}

/** Everything a module imports. */
export function findImports({ code }: Source): Import[] {
  const found: Import[] = []
  for (const match of code.matchAll(STATIC)) {
    const clause = match[2] as string
    const braces = /^\s*\{([^}]*)\}\s*$/.exec(clause)?.[1]
    const parts = braces?.split(',').map((part) => part.trim())
    const names = parts?.filter((part) => part !== '' && !part.startsWith('type '))
    const isTypeOnly = match[1] !== undefined || names?.length === 0
    const line = lineAt(code, match.index)
    found.push({ specifier: match[3] as string, line, names, isTypeOnly })
  }
  for (const match of code.matchAll(BARE)) {
    const line = lineAt(code, match.index)
    found.push({ specifier: match[1] as string, line, names: undefined, isTypeOnly: false })
  }
  for (const match of code.matchAll(DYNAMIC)) {
    const line = lineAt(code, match.index)
    const isTypeOnly = match[1] !== undefined
    found.push({ specifier: match[2] as string, line, names: undefined, isTypeOnly })
  }
  return found
}
