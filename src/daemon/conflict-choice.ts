/** Which version of a conflict is meant by a word. Pure. */
import type { ConflictReport } from './interface.ts'

/** `both`, `newest`, `mine` (of this device), `theirs` (of others), or a number from 1. */
export type Keep = string

/**
 * The position (from 0) of the version that `keep` means, or `both`; undefined when there is none.
 * Of several the newest is meant; of equally old ones the first.
 */
export function chooseVersion(
  versions: readonly Pick<ConflictReport['versions'][number], 'deviceId' | 'time'>[],
  { keep, self }: { readonly keep: Keep; readonly self: string },
): number | 'both' | undefined {
  if (keep === 'both') return keep
  if (/^[1-9]\d{0,5}$/.test(keep)) {
    const index = Number(keep) - 1
    return index < versions.length ? index : undefined
  }
  if (keep !== 'newest' && keep !== 'mine' && keep !== 'theirs') return undefined
  let best: number | undefined
  for (const [index, version] of versions.entries()) {
    const isOwn = version.deviceId === self
    if (keep !== 'newest' && isOwn !== (keep === 'mine')) continue
    const isNewer = best === undefined || version.time > (versions[best]?.time ?? '')
    if (isNewer) best = index
  }
  return best
}

/** Whether a word can mean a version at all. */
export function isKeep(text: string): boolean {
  return ['both', 'newest', 'mine', 'theirs'].includes(text) || /^[1-9]\d{0,5}$/.test(text)
}
