#!/usr/bin/env node
// Starts the compiled program. Plain JavaScript, so that node runs it without any help.
import { existsSync } from 'node:fs'
import module from 'node:module'

const compiled = new URL('../dist/cli/process.js', import.meta.url)

if (existsSync(compiled)) {
  // Compiled code is kept between runs (from Node 22.8); saves a third of the start-up.
  module.enableCompileCache?.()
  const { runProcess } = await import(compiled.href)
  await runProcess()
} else {
  process.stderr.write('wormhole: this checkout is not built yet. Run: npm run build\n')
  process.exitCode = 1
}
