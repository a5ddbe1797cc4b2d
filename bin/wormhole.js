#!/usr/bin/env node
// Starts the compiled program. Plain JavaScript, so that node runs it without any help.
import { existsSync } from 'node:fs'
import module from 'node:module'

// Commands that only ask the daemon: these also run from one bundle, which starts faster.
const ASKING = new Set(
  (
    'status devices peers where history sync conflicts policy ' +
    'ls cat put get rm mkdir mount unmount invite version'
  ).split(' '),
)

const places = ['../dist/cli/process.js']
if (ASKING.has(process.argv[2])) places.unshift('../dist/bundle/process.js')
const compiled = places
  .map((place) => new URL(place, import.meta.url))
  .find((place) => existsSync(place))

if (compiled !== undefined) {
  // Compiled code is kept between runs (from Node 22.8); saves a third of the start-up.
  module.enableCompileCache?.()
  const { runProcess } = await import(compiled.href)
  await runProcess()
} else {
  process.stderr.write('wormhole: this checkout is not built yet. Run: npm run build\n')
  process.exitCode = 1
}
