/**
 * Wormhole live on this machine: three devices, real mounts, a partition, a conflict.
 *
 *   npm start               tells the story, then leaves the mounts up until Ctrl-C
 *   npm start -- --once     tells the story and cleans up; exit code 0 if every check passed
 *
 * This file only prepares: the story is scripts/demo/main.ts.
 */
import { existsSync } from 'node:fs'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const built = fileURLToPath(new URL('../dist/cli/process.js', import.meta.url))
if (!existsSync(built)) {
  console.error('demo: nothing is built here. Run `npm start`, which installs and builds first.')
  process.exit(1)
}
await import('./typescript.mjs')
const { main } = await import('./demo/main.ts')
// After an interruption the story may still wait for something that will not come.
process.exit(await main(process.argv.slice(2)))
