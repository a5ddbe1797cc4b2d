/** What the policies on the way to the root say to the tree about concurrent edits. */
import { decidePolicy } from '../policy/decide.ts'
import type { StrategyOf } from '../crdt/overlay.ts'

/** `conflicts.strategy` that holds where these policies (nearest first) lie. */
export const strategyOf: StrategyOf = (policies) =>
  decidePolicy(policies.map((policy) => ({ directory: '', policy }))).effective.conflictStrategy
