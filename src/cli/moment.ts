/** What people mean by a time or a version in `--at`. Pure. */
import { WormholeError } from '../errors.ts'

const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const

/**
 * `2026-11-28 14:03[:22]` or a date (of this machine's zone), ISO 8601 with a zone, `90s`, `10m`,
 * `2h`, `3d`, `1w` (so long ago), or 4 to 16 hex digits: the start of a version's id.
 *
 * @throws {WormholeError} `BAD_ARGUMENT`.
 */
export function decodeMoment(text: string, nowMs: number): { version: string } | { atMs: number } {
  const word = text.trim()
  if (/^[0-9a-f]{4,16}$/.test(word)) return { version: word }
  const ago = /^(\d{1,6})([smhdw])$/.exec(word)
  if (ago) return { atMs: nowMs - Number(ago[1]) * UNIT_MS[ago[2] as keyof typeof UNIT_MS] }
  const isTime =
    /^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})?)?$/.test(word)
  // A date alone would be read as UTC.
  const atMs = isTime
    ? Date.parse(/^[\d-]+$/.test(word) ? `${word}T00:00` : word.replace(' ', 'T'))
    : NaN
  if (!Number.isNaN(atMs)) return { atMs }
  throw new WormholeError(
    'BAD_ARGUMENT',
    `${JSON.stringify(text)} is no time: say 2026-11-28 14:03, 2h (ago), or a version from history`,
  )
}
