/** Finds what somebody probably meant. */

/**
 * Edits between two words: insert, delete, replace, or swap two neighbours (optimal string
 * alignment; Damerau, "A technique for computer detection and correction of spelling errors",
 * 1964).
 */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const isEqual = a[row - 1] === b[column - 1]
      const replaced = (last[column - 1] as number) + (isEqual ? 0 : 1)
      const inserted = (current[column - 1] as number) + 1
      const deleted = (last[column] as number) + 1
      let best = Math.min(replaced, inserted, deleted)
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2]
      if (isSwap && a[row - 2] === b[column - 1]) {
        best = Math.min(best, (beforeLast[column - 2] as number) + 1)
      }
      current.push(best)
    }
    beforeLast = last
    last = current
  }
  return last[b.length] as number
}

/** A longer word is not a misspelling of ours, and comparing it costs its length. */
const WORD_LENGTH_MAX = 40

/** How many letters two words have in common at their start. */
function sharedLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}

/**
 * The candidate nearest to `word` (the first of equals), ignoring case, `_` for `-`, and blanks
 * around it. Near is: at most a third of the letters differ, or the word abbreviates the candidate
 * or shares its first half (three letters at least). Undefined when none is near.
 */
export function nearestWord(word: string, candidates: readonly string[]): string | undefined {
  const wanted = word.trim().toLowerCase().replaceAll('_', '-')
  if (wanted.length === 0 || wanted.length > WORD_LENGTH_MAX) return undefined
  let best: { candidate: string; distance: number } | undefined
  for (const candidate of candidates) {
    const distance = editDistance(wanted, candidate)
    const isNear = distance <= Math.max(1, Math.floor(candidate.length / 3))
    const shared = sharedLength(wanted, candidate)
    const isKin = shared >= 3 && (shared === wanted.length || shared * 2 >= candidate.length)
    if (!isNear && !isKin) continue
    if (best === undefined || distance < best.distance) best = { candidate, distance }
  }
  return best?.candidate
}
