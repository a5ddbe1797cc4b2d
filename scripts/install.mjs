/**
 * Makes `npm start` the only command a newcomer needs: installs the packages when they are missing
 * or older than the lock file, and compiles what has changed.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const NODE_MAJOR_MIN = 20

/** Modification time; 0 for what does not exist. */
function timeOf(...names) {
  const file = path.join(root, ...names)
  return existsSync(file) ? statSync(file).mtimeMs : 0
}

function runOrExit(program, args) {
  const result = spawnSync(program, args, { cwd: root, stdio: 'inherit' })
  if (result.error) throw result.error
  if (result.status !== 0) process.exit(result.status ?? 1)
}

const major = Number(process.versions.node.split('.')[0])
if (major < NODE_MAJOR_MIN) {
  console.error(`wormhole needs Node ${NODE_MAJOR_MIN} or newer; this is ${process.version}`)
  process.exit(1)
}
// npm writes this file at the end of every installation.
if (timeOf('node_modules', '.package-lock.json') < timeOf('package-lock.json')) {
  console.log('installing packages (npm ci --ignore-scripts)')
  const npm = process.env.npm_execpath
  const args = ['ci', '--ignore-scripts']
  if (npm === undefined) runOrExit('npm', args)
  else runOrExit(process.execPath, [npm, ...args])
}
runOrExit(process.execPath, [path.join(root, 'scripts', 'build.mjs'), '--if-possible'])
