/** Names of the facts that the writer keeps beside the tree. */
import { TABLE, type Layer } from './layer.ts'

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
