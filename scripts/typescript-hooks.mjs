/**
 * What Node asks before it loads a module: of TypeScript the types are erased, by esbuild, once.
 * The result is kept in .cache/, one file per source of this project, as long as the source and
 * esbuild are what they were. Types are not checked here. Esbuild itself is loaded only when a
 * source is new: it would be most of what a short test costs.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const KEPT = path.join(ROOT, '.cache', 'typescript')
const ESBUILD = path.join(ROOT, 'node_modules', 'esbuild', 'package.json')
const { version: VERSION } = JSON.parse(readFileSync(ESBUILD, 'utf8'))
const OPTIONS = {
  format: 'esm',
  loader: 'ts',
  sourcemap: 'inline',
  sourcesContent: false,
  target: 'node20',
}

function digest(...parts) {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex')
}

/** The kept result, if it was made of this source: its last line says so. */
function readKept(file, mark) {
  try {
    const code = readFileSync(file, 'utf8')
    return code.endsWith(mark) ? code : undefined
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Others may write the same file now, and who must not write there works without. */
function keep(file, code) {
  const draft = `${file}.${process.pid}.${performance.now()}`
  try {
    mkdirSync(KEPT, { recursive: true })
    writeFileSync(draft, code)
    renameSync(draft, file)
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS', 'ENOSPC'].includes(error.code)) throw error
  }
}

async function transform(file, text) {
  const esbuild = await import('esbuild')
  const { code } = await esbuild.transform(text, { ...OPTIONS, sourcefile: file })
  return code
}

async function erase(file) {
  const text = readFileSync(file, 'utf8')
  // What lies elsewhere, in a temporary directory say, would be kept for nobody.
  if (!file.startsWith(`${ROOT}${path.sep}`)) return transform(file, text)
  const kept = path.join(KEPT, digest(file))
  const mark = `//${digest(VERSION, JSON.stringify(OPTIONS), text)}\n`
  const known = readKept(kept, mark)
  if (known !== undefined) return known
  const code = `${await transform(file, text)}${mark}`
  keep(kept, code)
  return code
}

export async function load(url, context, next) {
  const { protocol, pathname } = new URL(url)
  if (protocol !== 'file:' || !pathname.endsWith('.ts')) return next(url, context)
  return { format: 'module', shortCircuit: true, source: await erase(fileURLToPath(url)) }
}
