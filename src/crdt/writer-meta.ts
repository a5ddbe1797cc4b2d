/** Names of the facts that the writer keeps beside the tree. */
import { WormholeError } from '../errors.ts'
import { TABLE, type Layer } from './layer.ts'
import type { RowWriter } from './rows.ts'

const COVERED_KEY = `${TABLE.meta}\0covered`

/** Key of a fact that the caller of `TreeWriter` keeps; own keys start with NUL instead. */
export function metaKey(name: string): string {
  return TABLE.meta + name
}

/** Journal number up to which own edits are in the index. */
export function readCoveredTo(layer: Layer): number {
  return Number(Buffer.from(layer.raw(COVERED_KEY) ?? []).toString('latin1') || '0')
}

/** Stores it in the layer. */
export function writeCoveredTo(layer: Layer, coveredTo: number): void {
  layer.putRaw(COVERED_KEY, Buffer.from(String(coveredTo), 'latin1'))
}

/** Changes with every encoding of rows: an index of another format is made anew from the log. */
const FORMAT = '1'
const FORMAT_KEY = `${TABLE.meta}\0format`

/**
 * Marks an empty index with the format of this program.
 *
 * @throws {WormholeError} `INDEX_CORRUPT` when it has rows of another format.
 */
export function claimFormat(layer: Layer): void {
  const format = layer.raw(FORMAT_KEY)
  const found = format === undefined ? 'none' : Buffer.from(format).toString('latin1')
  if (found === FORMAT) return
  if (layer.rawRange('', { countMax: 1 }).length > 0) {
    const message = `the index has format ${found}, this program writes ${FORMAT}`
    throw new WormholeError('INDEX_CORRUPT', message)
  }
  layer.putRaw(FORMAT_KEY, Buffer.from(FORMAT, 'latin1'))
}

/** The same for an index that is emptied. */
export function writeFormat(rows: RowWriter): void {
  rows.put(FORMAT_KEY, Buffer.from(FORMAT, 'latin1'))
}
