/**
 * The checks of tidy, as functions from text to findings. They read no files, so that each can be
 * tested on a few lines.
 */
import path from 'node:path'
import {
  ADAPTERS,
  CALLS,
  EVERYWHERE,
  FILE_LINES_MAX,
  LEAVES,
  LINE_COLUMNS_MAX,
  MAY_IMPORT,
  MODULES,
  PACKAGES,
  WORDS,
  type Effect,
} from './rules.ts'
import { findImports, type Import, type Source } from './source.ts'

/** Something that is not as it should be. Lines count from 1. */
export interface Finding {
  readonly line: number
  readonly message: string
}

/** The unit of `MAY_IMPORT` that a path below src/ belongs to. */
function unitOf(file: string): string {
  if (file.startsWith('vfs/fuse/')) return 'vfs/fuse'
  return file.split('/')[0] as string
}

function mayImport(unit: string, target: string): boolean {
  if (LEAVES.has(target)) return true
  const into = unitOf(target)
  if (into === unit) return true
  const allowed = LEAVES.has(unit) ? [] : MAY_IMPORT[unit]
  return allowed?.includes(into) === true || allowed?.includes(target) === true
}

/** Imports go down only. `file` is the path below src/. */
export function checkLayers(file: string, imports: readonly Import[]): Finding[] {
  const unit = unitOf(file)
  if (!LEAVES.has(file) && MAY_IMPORT[unit] === undefined) {
    return [{ line: 1, message: `src/${unit} has no place in the layers (scripts/tidy/rules.ts)` }]
  }
  const findings: Finding[] = []
  for (const { specifier, line } of imports) {
    if (!specifier.startsWith('.')) continue
    const target = path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier))
    if (target.startsWith('../')) {
      findings.push({ line, message: `${specifier} leaves src/` })
    } else if (!mayImport(unit, target)) {
      findings.push({ line, message: `src/${unit} may not import src/${target}` })
    }
  }
  return findings
}

/** The effects a module imports, with the places. */
function importedEffects(imports: readonly Import[]): { effect: Effect; line: number }[] {
  return imports.flatMap(({ specifier, line, names, isTypeOnly }) => {
    const module = MODULES[specifier]
    if (module === undefined || isTypeOnly) return []
    const isPure = names?.every((name) => module.pure.includes(name.split(' ')[0] as string))
    return isPure === true ? [] : [{ effect: module.effect, line }]
  })
}

/** Only adapters touch the outside world, and they only as far as they must. */
export function checkEffects(file: string, source: Source, imports: readonly Import[]): Finding[] {
  const permitted = new Set(ADAPTERS[file]?.may)
  const used = new Set<Effect>()
  const findings: Finding[] = []
  const judge = (effect: Effect, line: number, message: string): void => {
    used.add(effect)
    if (!permitted.has(effect)) findings.push({ line, message })
  }
  for (const { effect, line } of importedEffects(imports)) {
    judge(effect, line, `${effect} is for adapters only: use a port`)
  }
  source.bare.split('\n').forEach((text, index) => {
    for (const { effect, pattern, instead } of CALLS) {
      if (pattern.test(text)) {
        judge(effect, index + 1, `${effect} is for adapters only: use ${instead}`)
      }
    }
  })
  for (const effect of permitted) {
    if (!used.has(effect)) {
      findings.push({ line: 1, message: `no longer uses ${effect}: take it from its adapter row` })
    }
  }
  return findings.sort((a, b) => a.line - b.line)
}

/** Each native or network package is imported by the adapters that are named for it. */
export function checkPackages(file: string, imports: readonly Import[]): Finding[] {
  return imports.flatMap(({ specifier, line, isTypeOnly }) => {
    const home = PACKAGES[specifier]
    if (home === undefined || isTypeOnly || home.includes(file)) return []
    return [{ line, message: `${specifier} is imported only by ${home.join(', ')}` }]
  })
}

/** Files and lines that a person can still take in. */
export function checkSize(text: string): Finding[] {
  const lines = text.trimEnd().split('\n')
  const findings: Finding[] = []
  if (lines.length > FILE_LINES_MAX) {
    const message = `${lines.length} lines, at most ${FILE_LINES_MAX}: this file has two purposes`
    findings.push({ line: FILE_LINES_MAX + 1, message })
  }
  lines.forEach((line, index) => {
    if (line.length > LINE_COLUMNS_MAX && !/https?:\/\//.test(line)) {
      findings.push({ line: index + 1, message: `${line.length} columns, at most 100` })
    }
  })
  return findings
}

const EXPORTED =
  /^export (?:declare |abstract |async )*(function\*?|class|interface|type|const|let) (\w+)/

/**
 * Every exported item has a docstring. Further signatures of an overloaded function, and one-line
 * constants that directly follow a documented one, share it.
 */
export function checkDocstrings({ text, bare }: Source): Finding[] {
  const written = text.split('\n')
  const findings: Finding[] = []
  let previous = { name: '', kind: '', line: -1, isDocumented: false }
  bare.split('\n').forEach((line, index) => {
    const match = EXPORTED.exec(line)
    if (match === null) return
    const [, kind = '', name = ''] = match
    const isFollowing = previous.isDocumented && previous.line === index - 1
    const isConstantOfGroup = isFollowing && kind === 'const' && previous.kind === 'const'
    const isOverload = kind === 'function' && previous.name === name
    const hasDocstring = written[index - 1]?.trimEnd().endsWith('*/') === true
    const isDocumented = hasDocstring || isConstantOfGroup || isOverload
    if (!isDocumented) findings.push({ line: index + 1, message: `${name} needs a docstring` })
    previous = { name, kind, line: index, isDocumented }
  })
  return findings
}

function checkPatterns(
  text: string,
  table: readonly { pattern: RegExp; message: string }[],
): Finding[] {
  return text
    .split('\n')
    .flatMap((line, index) =>
      table
        .filter(({ pattern }) => pattern.test(line))
        .map(({ message }) => ({ line: index + 1, message })),
    )
}

/** No open ends and no sleeping tests. */
export function checkWords(text: string): Finding[] {
  return checkPatterns(text, WORDS)
}

/** Nothing that belongs to one machine. For every text file of the repository. */
export function checkEverywhere(text: string): Finding[] {
  return checkPatterns(text, EVERYWHERE)
}

/** Every folder of src/ that holds code documents itself. `files` are paths below src/. */
export function findFoldersWithoutReadme(files: readonly string[]): string[] {
  const all = new Set(files)
  const folders = files
    .filter((file) => file.includes('/') && file.endsWith('.ts'))
    .map((file) => file.split('/')[0] as string)
    .filter((folder) => folder !== 'declarations' && !all.has(`${folder}/README.md`))
  return [...new Set(folders)].sort()
}

/** Error codes that no test names as a string. */
export function findUntestedCodes(codes: readonly string[], tests: readonly string[]): string[] {
  return codes.filter((code) => {
    const quoted = new RegExp(`['"\`]${code}['"\`]`)
    return !tests.some((text) => quoted.test(text))
  })
}

/** All checks on one module of src/. `file` is the path below src/. */
export function checkModule(file: string, source: Source): Finding[] {
  const imports = findImports(source)
  return [
    ...checkLayers(file, imports),
    ...checkEffects(file, source, imports),
    ...checkPackages(file, imports),
    ...checkDocstrings(source),
  ]
}
