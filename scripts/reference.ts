/** Writes the reference page of policy files from their schema: `npm run reference`. */
import { writeFileSync } from 'node:fs'
import { formatReference } from '../src/policy/words.ts'

const page = new URL('../src/policy/reference.md', import.meta.url)
writeFileSync(page, formatReference())
console.log(`Wrote ${page.pathname}`)
