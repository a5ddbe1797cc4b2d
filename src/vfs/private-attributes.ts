/**
 * Facts that the file system keeps among the extended attributes of an inode, under names that no
 * program can read, list or set: they are outside every namespace that is offered.
 */
import type { Attributes } from '../crdt/interface.ts'

type Xattrs = Attributes['xattrs']

/** A time of last access that a program has set: i64, little-endian, ns since 1970. */
const ATIME = 'wormhole.atime'
const TIME_BYTES = 8

/** The namespaces whose attributes are stored for programs. */
const STORED_PREFIXES = ['user.', 'trusted.', 'security.']

/** A namespace without a name in it. */
export function isBarePrefix(name: string): boolean {
  return STORED_PREFIXES.includes(name)
}

/** Whether attributes of this name are stored for programs. */
export function isStoredName(name: string): boolean {
  return STORED_PREFIXES.some((prefix) => name.startsWith(prefix))
}

/** The time of last access that was set; undefined without one. */
export function decodeTime(xattrs: Xattrs): bigint | undefined {
  if (xattrs.size === 0) return undefined
  const bytes = xattrs.get(ATIME)
  return bytes?.length === TIME_BYTES ? bytes.readBigInt64LE() : undefined
}

/**
 * The attributes with this time of last access; undefined: with none. The same object when nothing
 * changes.
 */
export function withTime(xattrs: Xattrs, atimeNs: bigint | undefined): Xattrs {
  if (decodeTime(xattrs) === atimeNs) return xattrs
  const changed = new Map(xattrs)
  if (atimeNs === undefined) {
    changed.delete(ATIME)
  } else {
    const bytes = Buffer.alloc(TIME_BYTES)
    bytes.writeBigInt64LE(atimeNs)
    changed.set(ATIME, bytes)
  }
  return changed
}

/** Bytes that the limit of the attributes counts. */
export function totalBytes(xattrs: Xattrs): number {
  let total = 0
  for (const [name, value] of xattrs) total += name.length + value.length
  return total
}
