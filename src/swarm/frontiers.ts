/** Comparing frontiers. */
import type { Frontier } from '../types.ts'

/**
 * Whether who has `have` lacks nothing of `told`. A feed of the same length but another head (a
 * fork) is not covered; whether a longer one contains the shorter only its log can tell.
 */
export function coversFrontier(have: Frontier, told: Frontier): boolean {
  for (const [feed, head] of told) {
    const own = have.get(feed)
    if (own === undefined || own.length < head.length) return false
    if (own.length === head.length && own.hash !== head.hash) return false
  }
  return true
}
