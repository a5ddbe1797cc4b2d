/** Seeded bytes, edits and keys for tests of chunks. */
import type { ChunkKeysData } from '../../src/chunks/keys.ts'
import { ChunkKeyRing } from '../../src/chunks/keys.ts'
import type { ByteRange, DirtyExtent } from '../../src/chunks/interface.ts'

/** Numbers in [0, 1) from a 32-bit seed: mulberry32 (Tommy Ettinger, public domain). */
export function createRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `count` bytes that do not compress. */
export function createBytes(random: () => number, count: number): Buffer<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(count / 4))
  for (let index = 0; index < words.length; index++) words[index] = random() * 2 ** 32
  return Buffer.from(words.buffer, 0, count)
}

/** `count` bytes of text that compress about threefold. */
export function createText(random: () => number, count: number): Buffer {
  const words = ['worm', 'hole', 'chunk', 'pack', 'seal', 'tree', ' ', '\n', '0123', 'abc']
  const parts: string[] = []
  for (let length = 0; length < count;) {
    const word = words[Math.floor(random() * words.length)] as string
    parts.push(word)
    length += word.length
  }
  return Buffer.from(parts.join('')).subarray(0, count)
}

/** A new size, some holes and extents, and what a file with these bytes then is. */
export function editRandomly(
  random: () => number,
  model: Buffer,
): { extents: DirtyExtent[]; holes: ByteRange[]; result: Buffer<ArrayBuffer> } {
  const below = (limit: number): number => Math.floor(random() * limit)
  const kind = random()
  let size = model.length
  if (kind < 0.3) size = below(700_000)
  else if (kind < 0.6) size += below(400_000)
  const extents: DirtyExtent[] = []
  for (let count = below(5); count > 0; count--) {
    const length = 1 + below(random() < 0.3 ? 300_000 : 9_000)
    const make = random() < 0.5 ? createBytes : createText
    extents.push({ offset: below(size + 1), bytes: make(random, length) })
  }
  const holes: ByteRange[] = []
  for (let count = below(4); count > 0; count--) {
    holes.push({ offset: below(model.length + 1), length: below(random() < 0.5 ? 300_000 : 9_000) })
  }
  const result = Buffer.alloc(size)
  model.copy(result)
  for (const { offset, length } of holes)
    result.fill(0, Math.min(offset, size), Math.min(offset + length, size))
  for (const { offset, bytes } of extents) result.set(bytes.subarray(0, size - offset), offset)
  return { extents, holes, result }
}

/** Fixed keys as plain data. */
export function createChunkKeysData(generation = 0): ChunkKeysData {
  const contents = new Map<number, Uint8Array>()
  for (let index = 0; index <= generation; index++) contents.set(index, Buffer.alloc(32, 2 + index))
  return { dedup: Buffer.alloc(32, 1), currentGeneration: generation, contents }
}

/** Fixed keys. */
export function createChunkKeys(generation = 0): ChunkKeyRing {
  return new ChunkKeyRing(createChunkKeysData(generation))
}
