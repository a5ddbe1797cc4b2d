/** What copying into and out of a volume have in common. */
import path from 'node:path'
import { WormholeError } from '../errors.ts'
import type { Context } from './context.ts'
import { count, formatBytes } from './format.ts'
import type { TransferReport } from './interface.ts'
import type { ProgressLine } from './progress.ts'

/** Files copied at a time: hides the latency of small ones, bounds memory and open files. */
const FILES_AT_A_TIME = 4

/** Counts what was copied and shows how far it is. */
export class Tally {
  readonly report: TransferReport = { files: 0, directories: 0, bytes: 0, skipped: [] }
  readonly #line: ProgressLine
  readonly #sizeBytes: number

  /** `sizeBytes` 0: not known. */
  constructor(line: ProgressLine, sizeBytes = 0) {
    this.#line = line
    this.#sizeBytes = sizeBytes
  }

  /** Bytes that pass through are counted. */
  async *through(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      this.report.bytes += piece.length
      this.#show()
      yield piece
    }
  }

  addFile(): void {
    this.report.files++
    this.#show()
  }

  addDirectory(): void {
    this.report.directories++
  }

  skip(what: string, reason: string): void {
    this.report.skipped.push({ path: what, reason })
  }

  #show(): void {
    const { files, bytes } = this.report
    const total = this.#sizeBytes
    const text = files > 0 ? `${count(files, 'file')}, ${formatBytes(bytes)}` : formatBytes(bytes)
    if (total > 0) this.#line.show({ text: 'copying', done: bytes, total, isBytes: true })
    else this.#line.show({ text, done: bytes, total })
  }
}

/** Runs `work` on every item, a few at a time. The first failure stops the rest and is thrown. */
export async function forEachItem<T>(
  items: AsyncIterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>()
  const failures: unknown[] = []
  try {
    for await (const item of items) {
      if (failures.length > 0) break
      const task: Promise<void> = work(item)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => running.delete(task))
      running.add(task)
      if (running.size >= FILES_AT_A_TIME) await Promise.race(running)
    }
  } finally {
    await Promise.all(running)
  }
  if (failures.length > 0) throw failures[0]
}

/** `directory/name`, whatever slashes the directory ends with. */
export function joinPath(directory: string, name: string): string {
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`
}

/** Prints what was copied, and on standard error what was not. */
export async function reportTransfer(context: Context, report: TransferReport): Promise<void> {
  await context.report(report, () => '')
  if (context.isJson) return
  for (const { path: what, reason } of report.skipped) context.warn(`skipped ${what}: ${reason}`)
}

/** The last name of a local path. @throws `BAD_ARGUMENT` when it has none. */
export function lastName(file: string): string {
  const name = path.basename(file)
  if (name === '') throw new WormholeError('BAD_ARGUMENT', `${file} has no name to copy it under`)
  return name
}
