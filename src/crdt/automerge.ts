/**
 * The one place that loads Automerge, when the first document is made: publishing and applying do
 * without, so a start does not wait for 50 ms of wasm.
 *
 * V8 before Node 24 aborts the process when optimised code with an inlined call into wasm that
 * returns a JavaScript value (`commit`, `getHeads`) is thrown away while that call runs, which
 * happens by chance in long loops. The flag below switches the inlining off; it must be set before
 * the module is instantiated. `test/soak/deoptimize.ts` provokes the abort at once without it. What
 * is loaded is the low-level binding of the pinned version, which its `exports` do not name, hence
 * the absolute path.
 */
import { createRequire } from 'node:module'
import path from 'node:path'
import v8 from 'node:v8'
import type { ActorId } from '../types.ts'
import type { OpRef } from './interface.ts'

v8.setFlagsFromString('--no-turbo-inline-js-wasm-calls')

/** The part of Automerge's low-level document that Wormhole uses. */
export interface AutomergeDocument {
  /** Applies change chunks in causal order. Never verifies them: `decodeChange` does. */
  applyChanges(changes: Uint8Array[]): void
  /** All concurrent values of a root key, at `heads` if given: type, value, op id. */
  getAll(object: '/', key: string, heads?: string[]): [string, Uint8Array, OpRef][]
  keys(object: '/'): string[]
  getHeads(): string[]
  getChangeMetaByHash(hash: string): { actor: ActorId; seq: number; maxOp: number } | null
  /** Changes that are not among `deps` and their ancestors. */
  getChangesMeta(deps: string[]): { actor: ActorId; seq: number; maxOp: number }[]
  put(object: '/', key: string, value: Uint8Array, type: 'bytes'): void
  commit(message: null, time: number): string | null
  getChangeByHash(hash: string): Uint8Array | null
  /** All changes but `deps` and their ancestors, in causal order, as `encodeChange` writes them. */
  getChanges(deps: string[]): Uint8Array[]
  clone(): AutomergeDocument
  save(): Uint8Array
  /** Returns the memory to the wasm heap; the object must not be used afterwards. */
  free(): void
}

interface Binding {
  create(options: { actor: string }): AutomergeDocument
  load(data: Uint8Array, options: { actor: string }): AutomergeDocument
}

let loaded: Binding | undefined

function binding(): Binding {
  if (loaded) return loaded
  const require = createRequire(import.meta.url)
  // The entry point lies at dist/{cjs,mjs}/entrypoints or deeper; the binding under dist/mjs.
  const entry = require.resolve('@automerge/automerge')
  const dist = entry.slice(0, entry.lastIndexOf(`${path.sep}dist${path.sep}`) + 5)
  loaded = require(
    path.join(dist, 'mjs', 'wasm_bindgen_output', 'nodejs', 'automerge_wasm.cjs'),
  ) as Binding
  return loaded
}

/** Actor of documents that only apply what others wrote. */
const READER = '00'.repeat(16)

/** An empty document. */
export function createDocument(actor: string = READER): AutomergeDocument {
  return binding().create({ actor })
}

/** A saved document. Throws when the bytes are not one. */
export function loadDocument(saved: Uint8Array, actor: string = READER): AutomergeDocument {
  return binding().load(saved, { actor })
}
