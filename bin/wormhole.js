#!/usr/bin/env node
// Starts the compiled program. Plain JavaScript, so that node runs it without any help.
import { existsSync } from 'node:fs'
import module from 'node:module'

// The bundle is the same program in few files, which starts faster; it is only there where the
// bundler was installed.
const compiled = ['../dist/bundle/process.js', '../dist/cli/process.js']
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
