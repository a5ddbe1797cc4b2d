/** Taking one entry, whose turn it is, into the shards of a volume. */
import type { TreeWriter } from './crdt/writer.ts'
import type { Entry } from './log/interface.ts'
import type { EntryVerdict, MemberTable } from './log/membership.ts'
import type { HybridClock } from './system.ts'
import { feedDevice } from './types.ts'
import type { VolumeEvents } from './volume-interface.ts'

/**
 * Applies an entry that was folded with this verdict; a refused one is told, and counts as empty.
 * Returns the journal number up to which it covers this device's own edits.
 */
export function applyEntry(
  entry: Entry,
  verdict: EntryVerdict,
  about: {
    readonly tree: TreeWriter
    readonly hlc: HybridClock
    readonly events: VolumeEvents
    readonly members: MemberTable
    /** Written in this home. Numbers in what came from a peer may be those of another journal. */
    readonly isOwn: boolean
  },
): number {
  const { tree, hlc, events, members, isOwn } = about
  const changes = entry.tree?.changes ?? []
  let refusal = verdict.state === 'valid' ? undefined : verdict.reason
  if (!refusal && changes.length > 0) {
    const check = tree.check(changes, { actors: members.actorsFor(entry) })
    if (!check.isValid) refusal = check.reason ?? 'its changes are not valid'
  }
  if (refusal) {
    const author = feedDevice(entry.feed)
    const message = `entry ${entry.seq} of device ${author} is refused: ${refusal}`
    events.onProblem({ code: 'ENTRY_INVALID', message })
    return 0
  }
  hlc.observe(entry.hlc)
  const coveredTo = isOwn ? (entry.tree?.coveredTo ?? 0) : 0
  if (changes.length > 0) tree.apply(changes, isOwn ? { coveredTo } : undefined)
  return coveredTo
}
