/** How fast bytes come, and how long it will still take: text for the progress line. */
import type { Progress } from '../daemon/frames.ts'
import { count, formatBytes } from './format.ts'

/** The rate is that of about the last so many milliseconds. */
const WINDOW_MS = 10_000

/** Makes progress in bytes into one whose text tells amount, rate, sources and time left. */
export function createPace(nowMs: () => number): (progress: Progress) => Progress {
  const marks: { readonly atMs: number; readonly done: number }[] = []
  return (progress) => {
    const { text, done, total, isBytes, sourceCount = 0 } = progress
    if (total <= 0 || !isBytes) return progress
    const atMs = nowMs()
    marks.push({ atMs, done })
    while (marks.length > 2 && atMs - (marks[1]?.atMs ?? atMs) >= WINDOW_MS) marks.shift()
    const first = marks[0] ?? { atMs, done }
    const rate = atMs > first.atMs ? ((done - first.done) * 1000) / (atMs - first.atMs) : 0
    const amount = `${formatBytes(done)} of ${formatBytes(total)}`
    if (rate <= 0) return { ...progress, text: `${text} ${amount}` }
    const left = formatDuration((total - done) / rate)
    const sources = sourceCount > 0 ? ` from ${count(sourceCount, 'device')}` : ''
    return {
      ...progress,
      text: `${text} ${amount}, ${formatBytes(rate)}/s${sources}, ${left} left`,
    }
  }
}

/** `8 s`, `3 min`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  const minutes = Math.ceil(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
}
