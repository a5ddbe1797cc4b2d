/** Growable shared memory (ECMAScript 2024, in Node since 20); es2023 has no types for it. */
interface SharedArrayBuffer {
  readonly maxByteLength: number
  grow(byteLength: number): void
}
interface SharedArrayBufferConstructor {
  new (byteLength: number, options: { maxByteLength: number }): SharedArrayBuffer
}
