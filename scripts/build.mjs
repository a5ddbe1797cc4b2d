/**
 * Compiles src/ to dist/ with tsc and copies the .wasm files beside the modules that load them.
 *
 * Incremental: what has not changed is not compiled again. Outputs whose source is gone are
 * removed, so that dist/ is always what a fresh build would make. Type errors make it exit 1.
 *
 * With esbuild installed, the commands that only ask the daemon are bundled into dist/bundle/ too:
 * they start faster. Without it everything works from dist/cli/.
 *
 *   node scripts/build.mjs                  compile
 *   node scripts/build.mjs --if-possible    the same, but exit 0 when TypeScript is not installed
 */
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const source = path.join(root, 'src')
const output = path.join(root, 'dist')

/** The files below `directory` as relative paths; none if it is missing. */
function filesBelow(directory) {
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(directory, path.join(entry.parentPath ?? entry.path, entry.name)))
}

/** The compiler of this installation; undefined in a production installation. */
function findCompiler() {
  const compiler = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  return existsSync(compiler) ? compiler : undefined
}

/** Removes compiled modules whose source has been renamed or deleted. */
function removeStale(sources) {
  for (const file of filesBelow(output)) {
    if (file.startsWith(`bundle${path.sep}`)) continue
    const stem = file.replace(/\.js(\.map)?$/, '')
    const isModule = stem !== file && !sources.has(`${stem}.ts`)
    const isCopy = file.endsWith('.wasm') && !sources.has(file)
    if (isModule || isCopy) rmSync(path.join(output, file), { force: true })
  }
}

/** The bundler of this installation; undefined when there is none for this machine. */
async function loadBundler() {
  try {
    return await import('esbuild')
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    return undefined
  }
}

/** Modules that are started by name, as a process or a thread, and lie beside their callers. */
const ENTRIES = [
  'cli/process',
  'daemon/crdt-thread',
  'daemon/fs-thread',
  'daemon/check-process',
  'chunks/thread-main',
  'vfs/fuse/notify-worker',
]
/** Packages without native code; others stay outside: they look for files by their own place. */
const INSIDE = new Set([
  '@msgpack/msgpack',
  'commander',
  'multicast-dns',
  'pino',
  'protomux',
  'toml-eslint-parser',
])

/**
 * Bundles the whole program, flat: a module that starts another one or reads a file beside itself
 * finds it in the same directory, whichever part of the bundle it has become part of.
 */
async function bundle() {
  const directory = path.join(output, 'bundle')
  const esbuild = await loadBundler()
  if (esbuild === undefined) {
    rmSync(directory, { recursive: true, force: true })
    return
  }
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  const { outputFiles } = await esbuild.build({
    write: false,
    entryPoints: ENTRIES.map((name) => path.join(output, `${name}.js`)),
    entryNames: '[name]',
    outdir: directory,
    bundle: true,
    splitting: true,
    minifySyntax: true,
    minifyWhitespace: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    mainFields: ['module', 'main'],
    external: Object.keys(manifest.dependencies).filter((name) => !INSIDE.has(name)),
    // What was CommonJS asks for Node's modules by `require`.
    banner: {
      js: "import{createRequire as r__}from'node:module';const require=r__(import.meta.url);",
    },
    logLevel: 'warning',
  })
  const files = outputFiles.map(({ path: file, contents }) => ({
    name: path.basename(file),
    contents,
  }))
  for (const name of filesBelow(output)) {
    if (!name.endsWith('.wasm') || name.startsWith(`bundle${path.sep}`)) continue
    files.push({ name: path.basename(name), contents: readFileSync(path.join(output, name)) })
  }
  // What stays the same is not touched: it may be running.
  mkdirSync(directory, { recursive: true })
  for (const { name, contents } of files) {
    const file = path.join(directory, name)
    if (!existsSync(file) || !readFileSync(file).equals(contents)) writeFileSync(file, contents)
  }
  const names = new Set(files.map(({ name }) => name))
  for (const name of readdirSync(directory)) {
    if (!names.has(name)) rmSync(path.join(directory, name))
  }
}

async function build() {
  const compiler = findCompiler()
  if (compiler === undefined) {
    if (process.argv.includes('--if-possible')) {
      console.log('build: TypeScript is not installed, dist/ is left as it is')
      return 0
    }
    console.error('build: TypeScript is not installed. Run `npm ci --ignore-scripts` first.')
    return 1
  }
  const sources = new Set(filesBelow(source))
  // The record of what is compiled lies in dist/: who deletes dist/ gets everything compiled again.
  const record = path.join(output, '.tsbuildinfo')
  const incremental = ['--incremental', '--tsBuildInfoFile', record]
  const project = path.join(root, 'tsconfig.build.json')
  const compiled = spawnSync(process.execPath, [compiler, '-p', project, ...incremental], {
    stdio: 'inherit',
  })
  if (compiled.error) throw compiled.error
  for (const file of sources) {
    if (!file.endsWith('.wasm')) continue
    mkdirSync(path.dirname(path.join(output, file)), { recursive: true })
    copyFileSync(path.join(source, file), path.join(output, file))
  }
  removeStale(sources)
  if (compiled.status === 0) await bundle()
  if (compiled.status !== 0) console.error('build: there are type errors (see above)')
  return compiled.status ?? 1
}

process.exitCode = await build()
