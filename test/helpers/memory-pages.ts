/** The bytes of a sparse file in memory. Holes take no room and read as zeros. */

const PAGE_BYTES = 16 * 1024
const ZEROS = Buffer.alloc(PAGE_BYTES)

/** Pages by index; knows nothing of the size of the file. */
export class MemoryPages {
  readonly #pages = new Map<number, Buffer>()

  /** Views of the bytes from `offset` up to `end`. */
  read(offset: number, end: number): Buffer[] {
    const parts: Buffer[] = []
    for (let at = offset; at < end;) {
      const within = at % PAGE_BYTES
      const count = Math.min(PAGE_BYTES - within, end - at)
      const page = this.#pages.get(Math.floor(at / PAGE_BYTES)) ?? ZEROS
      parts.push(page.subarray(within, within + count))
      at += count
    }
    return parts
  }

  /** Copies `bytes` to `offset`. */
  write(offset: number, bytes: Buffer): void {
    const end = offset + bytes.length
    for (let at = offset; at < end;) {
      const index = Math.floor(at / PAGE_BYTES)
      let page = this.#pages.get(index)
      if (!page) this.#pages.set(index, (page = Buffer.alloc(PAGE_BYTES)))
      at += bytes.copy(page, at % PAGE_BYTES, at - offset)
    }
  }

  /** Forgets everything from `sizeBytes` on. */
  truncate(sizeBytes: number): void {
    const last = Math.floor(sizeBytes / PAGE_BYTES)
    for (const index of this.#pages.keys()) if (index > last) this.#pages.delete(index)
    this.#pages.get(last)?.fill(0, sizeBytes % PAGE_BYTES)
  }
}
