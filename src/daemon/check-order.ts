/** What the checking process is told and tells. Types, and the list of what there is to check. */
import type { ErrorData } from '../errors.ts'
import type { Finding } from '../finding.ts'
import type { LackingContent } from './check-contents.ts'
import type { DeviceLabels } from '../policy/interface.ts'
import type { InodeId } from '../types.ts'
import type { Progress } from './frames.ts'
import type { ThreadData } from './threads.ts'

/** What may be checked, in this order. */
export const CHECK_PARTS = ['journal', 'log', 'packs', 'index', 'contents'] as const
/** One of them. */
export type CheckPart = (typeof CHECK_PARTS)[number]

/** What the process is given to start with. */
export interface CheckOrder {
  readonly data: ThreadData
  /** Of this device; only what is kept by policy is missed. */
  readonly labels?: DeviceLabels
  /** What is pinned on it: kept, too. */
  readonly pins?: readonly InodeId[]
  readonly parts: readonly CheckPart[]
}

/** What the process tells. `done` comes last. */
export type CheckNews =
  | ({ readonly type: 'progress' } & Progress)
  | { readonly type: 'finding'; readonly finding: Finding; readonly lacking?: LackingContent }
  | { readonly type: 'begun' | 'ended'; readonly part: CheckPart }
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly error: ErrorData }
