/**
 * Who owes an acknowledgement. Every entry tells what its author had applied; one that tells
 * nothing else is an acknowledgement, and needs none itself: so two idle devices fall silent.
 */
import type { DeviceId, FeedId } from '../types.ts'
import { feedDevice } from '../types.ts'
import type { Entry } from './interface.ts'
import type { FeedProgress } from './member-rows.ts'

/** Whether an entry only tells how far its author has got; announcing itself may go with it. */
export function isAcknowledgement({ control, hasSealedTree }: Entry): boolean {
  return !hasSealedTree && control.every(({ type }) => type === 'ack' || type === 'actor')
}

/** Whether others said what the newest entry of none of the device's feeds acknowledges. */
export function owesAcknowledgement(
  progress: ReadonlyMap<FeedId, FeedProgress>,
  device: DeviceId,
): boolean {
  const own = [...progress].filter(([feed]) => feedDevice(feed) === device)
  for (const [feed, { saidLength }] of progress) {
    if (saidLength === 0 || feedDevice(feed) === device) continue
    const isKnown = own.some(([, { frontier }]) => (frontier.get(feed)?.length ?? 0) >= saidLength)
    if (!isKnown) return true
  }
  return false
}
