/** Contents of other devices that are still to be fetched: rows of the index. */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { ChunkAddress, InodeId } from '../types.ts'
import type { ContentRef, VersionId } from './interface.ts'
import { TABLE, type Layer } from './layer.ts'

/** A content from another device that has yet to be fetched. */
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
export function encodeWant(
  ref: Exclude<ContentRef, { type: 'empty' }>,
  sizeBytes: number,
): Uint8Array {
  const writer = new ByteWriter(48).u8(ref.type === 'chunk' ? 1 : 2)
  return writer.hex(ref.address).varint(sizeBytes).finish()
}

/** The reverse. `key`: without that of the table. @throws {WormholeError} `INDEX_CORRUPT`. */
export function decodeWant(key: string, value: Uint8Array): Want {
  const reader = new ByteReader(value, 'INDEX_CORRUPT')
  const type = reader.u8() === 1 ? 'chunk' : 'manifest'
  const ref: ContentRef = { type, address: reader.hex(32) as ChunkAddress }
  const sizeBytes = reader.varint()
  return { key, inode: key.slice(0, 16) as InodeId, version: key.slice(16), ref, sizeBytes }
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
