/** The version of this installation, from its package.json. */
import { readFileSync } from 'node:fs'

const manifest = new URL('../../package.json', import.meta.url)

/** As in `0.1.0`. */
export const VERSION: string = (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string })
  .version
