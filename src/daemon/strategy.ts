/** What the policies on the way to the root say to the tree. */
import { decidePolicy } from '../policy/decide.ts'
import type { EffectivePolicy } from '../policy/interface.ts'
import type { StrategyOf } from '../crdt/overlay.ts'
import type { HistoryDaysOf } from '../crdt/retention.ts'

function effective(policies: readonly string[]): EffectivePolicy {
  return decidePolicy(policies.map((policy) => ({ directory: '', policy }))).effective
}

/** `conflicts.strategy` that holds where these policies (nearest first) lie. */
export const strategyOf: StrategyOf = (policies) => effective(policies).conflictStrategy

/** `history.days` that holds there. */
export const historyDaysOf: HistoryDaysOf = (policies) => effective(policies).historyDays
