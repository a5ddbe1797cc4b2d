/** What the checks of a volume's files find. Every part has its own; `wormhole verify` runs all. */
import type { ChunkAddress, FeedId } from './types.ts'

/** Something on this disk that is not what it should be. */
export interface Finding {
  readonly part: 'home' | 'journal' | 'log' | 'index' | 'packs' | 'contents'
  /** A code of errors.ts. */
  readonly code: string
  /** What is wrong. */
  readonly message: string
  /** The file, and where in it. */
  readonly path?: string
  readonly offset?: number
  readonly feed?: FeedId
  /** Numbers of log entries or journal records, both included. */
  readonly from?: number
  readonly to?: number
  readonly address?: ChunkAddress
}

/** One step of a check: so many bytes more were read. */
export interface CheckStep {
  readonly bytes: number
  readonly findings: readonly Finding[]
}
