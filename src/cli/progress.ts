/** One line on the terminal that says how far a long command is. Silent in a pipe. */
import type { Progress } from '../daemon/frames.ts'
import { clean } from './format.ts'
import type { Output } from './io.ts'
import { createPace } from './pace.ts'

/** The line is drawn at most this often. */
const DRAW_MS_MIN = 100
/** Longest bar. */
const BAR_COLUMNS_MAX = 24
/** For terminals that do not tell, or tell 0. */
const COLUMNS_PRESET = 80

/** Shows progress until it is cleared. */
export interface ProgressLine {
  show(progress: Progress): void
  /** Removes the line. Idempotent. */
  clear(): void
}

/** A line on `output` if that is a terminal. `nowMs` is any clock that grows. */
export function progressLine(output: Output, nowMs: () => number): ProgressLine {
  if (output.isTTY !== true) return { show() {}, clear() {} }
  const pace = createPace(nowMs)
  let lastMs = -Infinity
  let isDrawn = false
  return {
    show(progress) {
      if (nowMs() - lastMs < DRAW_MS_MIN) return
      lastMs = nowMs()
      isDrawn = true
      output.write(`\r\u001b[K${formatProgress(pace(progress), output.columns || COLUMNS_PRESET)}`)
    },
    clear() {
      if (isDrawn) output.write('\r\u001b[K')
      isDrawn = false
    },
  }
}

/**
 * `[████      ] 40% text` in less than `columns`; without a total only the text. The bar comes
 * first and is as wide whatever the text says, so that it stands still.
 */
export function formatProgress(progress: Progress, columns: number): string {
  const room = Math.max(10, columns - 1)
  const text = clean(progress.text)
  if (progress.total <= 0) return text.slice(0, room)
  const share = Math.min(1, Math.max(0, progress.done / progress.total))
  const percent = `${String(Math.floor(share * 100)).padStart(3)}%`
  const barWidth = Math.min(BAR_COLUMNS_MAX, Math.floor(room / 5))
  const filled = Math.round(share * barWidth)
  const bar = `[${'█'.repeat(filled)}${' '.repeat(barWidth - filled)}]`
  return `${bar} ${percent} ${text}`.slice(0, room)
}
