/**
 * Checks the structure of the repository: import layers, effects outside adapters, sizes,
 * docstrings, open ends, and what belongs to one machine. Rules: scripts/tidy/rules.ts.
 *
 *   npm run tidy            prints `file:line: error: text` and exits 1 when it finds anything
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { CODES } from '../src/errors.ts'
import {
  checkEverywhere,
  checkModule,
  checkSize,
  checkWords,
  findFoldersWithoutReadme,
  findUntestedCodes,
  type Finding,
} from './tidy/checks.ts'
import { ADAPTERS, PACKAGES, UNTESTED_CODES_MAX } from './tidy/rules.ts'
import { scan } from './tidy/source.ts'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const CODE = /\.(?:ts|mjs|js)$/
/** AssemblyScript is another language with the same file ending. */
const OTHER_LANGUAGE = /^src\/chunks\/assembly\//

/** Everything that is or will be in the repository. */
function listFiles(): string[] {
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 } as const
  const listed = execFileSync('git', ['ls-files', '-coz', '--exclude-standard'], options)
  const names = listed.split('\0').filter((name) => name !== '')
  return [...new Set(names)].filter((name) => existsSync(path.join(root, name))).sort()
}

let errorCount = 0

function report(file: string, findings: readonly Finding[]): void {
  errorCount += findings.length
  for (const { line, message } of findings) console.error(`${file}:${line}: error: ${message}`)
}

function checkFile(file: string, text: string): void {
  report(file, checkEverywhere(text))
  if (!CODE.test(file)) return
  report(file, checkSize(text))
  report(file, checkWords(text))
  if (!file.startsWith('src/') || OTHER_LANGUAGE.test(file) || file.endsWith('.d.ts')) return
  report(file, checkModule(file.slice('src/'.length), scan(text)))
}

function checkCodes(tests: readonly string[]): void {
  const untested = findUntestedCodes(Object.keys(CODES), tests)
  if (untested.length === 0) return
  const text = `${untested.length} error codes are named by no test: ${untested.join(' ')}`
  if (untested.length <= UNTESTED_CODES_MAX) {
    console.error(`src/errors.ts:1: warning: ${text}`)
  } else {
    report('src/errors.ts', [{ line: 1, message: `${text} (at most ${UNTESTED_CODES_MAX})` }])
  }
}

function main(): void {
  const texts = new Map<string, string>()
  for (const file of listFiles()) {
    const bytes = readFileSync(path.join(root, file))
    if (!bytes.includes(0)) texts.set(file, bytes.toString('utf8'))
  }
  for (const [file, text] of texts) checkFile(file, text)
  const files = [...texts.keys()]
  const inSrc = files.filter((file) => file.startsWith('src/')).map((file) => file.slice(4))
  for (const folder of findFoldersWithoutReadme(inSrc)) {
    report(`src/${folder}/README.md`, [{ line: 1, message: 'is missing' }])
  }
  for (const file of new Set([...Object.keys(ADAPTERS), ...Object.values(PACKAGES).flat()])) {
    const message = `names src/${file}, which does not exist`
    if (!inSrc.includes(file)) report('scripts/tidy/rules.ts', [{ line: 1, message }])
  }
  checkCodes(files.filter((file) => file.endsWith('.test.ts')).map((file) => texts.get(file) ?? ''))
  if (errorCount > 0) console.error(`tidy: ${errorCount} errors`)
  process.exitCode = errorCount > 0 ? 1 : 0
}

main()
