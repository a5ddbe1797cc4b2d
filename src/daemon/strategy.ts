/** What the policies on the way to the root say to the tree. */
import { decideValue } from '../policy/decide.ts'
import type { DeviceLabels } from '../policy/interface.ts'
import { sizeInBytes } from '../policy/size.ts'
import type { StrategyOf } from '../crdt/overlay.ts'
import type { HistoryDaysOf, HistoryVersionsOf } from '../crdt/retention.ts'

/** `conflicts.strategy` that holds where these policies (nearest first) lie. */
export const strategyOf: StrategyOf = (policies) => decideValue('conflicts.strategy', policies)

/** `history.days` that holds there. */
export const historyDaysOf: HistoryDaysOf = (policies) => decideValue('history.days', policies)

/** `history.versions` that holds there. */
export const historyVersionsOf: HistoryVersionsOf = (policies) =>
  decideValue('history.versions', policies)

/**
 * Bytes up to which a device with these labels fetches and keeps a file without being asked: all
 * where the folder is kept, what `local.prefetch` says where it is cached, else nothing.
 */
export function keptUpTo(policies: readonly string[], labels: DeviceLabels): number {
  const keep = decideValue('local.keep', policies, labels)
  if (keep === 'always') return Infinity
  return keep === 'cached' ? sizeInBytes(decideValue('local.prefetch', policies)) : 0
}
