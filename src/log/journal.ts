import type { Disk, Random } from '../system.ts'
import type { Journal, JournalRecord } from './interface.ts'

/** The journal in segment files under `directory`. */
export class DiskJournal implements Journal {
  static open(options: {
    readonly disk: Disk
    readonly random: Random
    readonly directory: string
    /** 32 bytes. */
    readonly key: Uint8Array
    /** Numbers below this are never given (the own feed covers them already). Default 1. */
    readonly numberMin?: number
  }): DiskJournal {
    throw new Error(`${options}`)
  }
  get nextNumber(): number {
    throw new Error()
  }
  append(type: number, bytes: Uint8Array): number {
    throw new Error(`${type} ${bytes}`)
  }
  flush(): void {
    throw new Error()
  }
  sync(): Promise<void> {
    throw new Error()
  }
  trim(number: number): void {
    throw new Error(`${number}`)
  }
  replay(): Iterable<JournalRecord> {
    throw new Error()
  }
  close(): Promise<void> {
    throw new Error()
  }
}
