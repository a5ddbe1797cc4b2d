/**
 * Prints what lies in a segment file of a feed or of the journal. Needs no keys and changes
 * nothing.
 *
 *   npm run inspect -- [--hex] <file>     exits 1 when something in it is wrong
 */
import { readFileSync } from 'node:fs'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { inspectSegment } from '../src/log/inspect.ts'

const USAGE = 'usage: npm run inspect -- [--hex] <segment file>'

function main(): number {
  const { values, positionals } = parseArgs({
    options: { hex: { type: 'boolean', default: false } },
    allowPositionals: true,
  })
  const [file, ...others] = positionals
  if (file === undefined || others.length > 0) {
    console.error(USAGE)
    return 2
  }
  const { lines, isSound } = inspectSegment(readFileSync(file), { hasHex: values.hex })
  console.log(lines.join('\n'))
  return isSound ? 0 : 1
}

try {
  process.exitCode = main()
} catch (error) {
  console.error(error instanceof Error ? `${error.message}\n${USAGE}` : error)
  process.exitCode = 2
}
