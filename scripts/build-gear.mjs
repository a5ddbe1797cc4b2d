/**
 * Rebuilds src/chunks/gear.wasm from src/chunks/assembly/gear.ts. The result is committed; the cuts
 * it makes are a format, pinned by test/unit/chunks/gear.test.ts. Run: node scripts/build-gear.mjs
 */
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'

const source = fileURLToPath(new URL('../src/chunks/assembly/gear.ts', import.meta.url))
const target = fileURLToPath(new URL('../src/chunks/gear.wasm', import.meta.url))

// 1 page for the tables, 64 pages (4 MiB) for data; never grown, so that views stay valid.
const { error, stderr } = await asc.main([
  source,
  '--outFile',
  target,
  '--baseDir',
  '/',
  '-O3',
  '--noAssert',
  '--converge',
  '--runtime',
  'stub',
  '--initialMemory',
  '65',
  '--maximumMemory',
  '65',
])
if (error) {
  console.error(stderr.toString())
  process.exitCode = 1
} else {
  console.log(`${target}: ${statSync(target).size} bytes`)
}
