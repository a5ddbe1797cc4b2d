/**
 * Contents that are still to be fetched: rows of the index.
 *
 * Invariant: every content in a register is on the list, unless it was fetched or this device
 * wrote its bytes. What has left its register is not. Whose operation a value is does not tell: an
 * own edit may name bytes that others wrote (README.md, "Wants").
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { ChunkAddress, InodeId } from '../types.ts'
import type { Content, ContentRef, VersionId } from './interface.ts'
import { TABLE, type Layer } from './layer.ts'
import { versionOf, type Value } from './records.ts'

/** A content that has yet to be fetched. */
export interface Want {
  /** Opaque; pass it to `fetched`. */
  readonly key: string
  readonly inode: InodeId
  readonly version: VersionId
  readonly ref: ContentRef
  readonly sizeBytes: number
}

/** Which wants: those after a key, in the order of their keys, or those of some keys. */
export type WantsQuery =
  { readonly after?: string; readonly countMax: number } | { readonly keys: readonly string[] }

/** The row of a want; not for an empty content. */
function encodeWant(ref: Exclude<ContentRef, { type: 'empty' }>, sizeBytes: number): Uint8Array {
  const writer = new ByteWriter(48).u8(ref.type === 'chunk' ? 1 : 2)
  return writer.hex(ref.address).varint(sizeBytes).finish()
}

/** The reverse. `key`: without that of the table. @throws {WormholeError} `INDEX_CORRUPT`. */
function decodeWant(key: string, value: Uint8Array): Want {
  const reader = new ByteReader(value, 'INDEX_CORRUPT')
  const type = reader.u8() === 1 ? 'chunk' : 'manifest'
  const ref: ContentRef = { type, address: reader.hex(32) as ChunkAddress }
  const sizeBytes = reader.varint()
  return { key, inode: key.slice(0, 16) as InodeId, version: key.slice(16), ref, sizeBytes }
}

/** Puts a content on the list; undefined if it has no bytes. */
export function addWant(layer: Layer, inode: InodeId, value: Value<Content>): Want | undefined {
  const content = value.data
  if (content.kind !== 'file' || content.ref.type === 'empty') return undefined
  const key = inode + versionOf(value)
  const row = encodeWant(content.ref, content.sizeBytes)
  layer.putRaw(TABLE.want + key, row)
  return decodeWant(key, row)
}

/** Whether a register holds a version; it may do so twice. */
export function holdsVersion(values: readonly Value<Content>[], version: VersionId): boolean {
  return values.some((value) => versionOf(value) === version)
}

/** Takes those of `before` off the list that have left their register. Returns whether any was. */
export function dropWants(
  layer: Layer,
  inode: InodeId,
  before: readonly Value<Content>[],
): boolean {
  let hasDropped = false
  const now = before.length > 0 ? (layer.inode(inode)?.C ?? []) : []
  for (const value of before) {
    const version = versionOf(value)
    if (holdsVersion(now, version)) continue
    const key = TABLE.want + inode + version
    if (!layer.raw(key)) continue
    layer.putRaw(key, undefined)
    hasDropped = true
  }
  return hasDropped
}

/** The wants that a query names. */
export function readWants(layer: Layer, query: WantsQuery): Want[] {
  if ('keys' in query) {
    return query.keys.flatMap((key) => {
      const value = layer.raw(TABLE.want + key)
      return value ? [decodeWant(key, value)] : []
    })
  }
  const { after, countMax } = query
  const from = after === undefined ? {} : { after: TABLE.want + after }
  return layer
    .rawRange(TABLE.want, { countMax, ...from })
    .map(({ key, value }) => decodeWant(key.slice(1), value))
}
