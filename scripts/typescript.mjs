/**
 * Lets this thread import TypeScript: `node --import ./scripts/typescript.mjs FILE`, or an import
 * of this module. A new thread must import it, too.
 */
import { register } from 'node:module'
import process from 'node:process'

process.setSourceMapsEnabled(true)
register('./typescript-hooks.mjs', import.meta.url)
