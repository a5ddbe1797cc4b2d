/**
 * How reports look on a terminal: tables, sizes, times, colours. Names come from other devices, so
 * everything that is printed goes through `clean` first: a file name must not steer the terminal.
 */
import type { Environment } from '../daemon/paths.ts'
import type { Output } from './io.ts'

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** The colours that reports use. */
export type Tone = 'good' | 'warning' | 'bad' | 'faint' | 'strong'
const TONES: Record<Tone, string> = {
  good: '32',
  warning: '33',
  bad: '31',
  faint: '2',
  strong: '1',
}

/** Colours a text, or leaves it. */
export type Paint = (tone: Tone, text: string) => string

/** Colours on a terminal only, and not when `NO_COLOR` is set (no-color.org) or TERM is `dumb`. */
export function painter(output: Output, env: Environment): Paint {
  const isColoured = output.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb'
  if (!isColoured) return (_tone, text) => text
  return (tone, text) => `\u001b[${TONES[tone]}m${text}\u001b[0m`
}

/** Control and direction-changing characters as `\xNN` or `\uNNNN`. */
export function clean(text: string): string {
  return text.replace(CONTROL, (character) => {
    const hex = character.charCodeAt(0).toString(16)
    return hex.length <= 2 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`
  })
}

/** As `clean` for a text of many lines, tabs included. */
export function cleanLines(text: string): string {
  return text.replace(/[^\n\t]+/g, clean)
}

/** JSON on one line, safe to show on a terminal. */
export function formatJson(value: unknown): string {
  return JSON.stringify(value).replace(
    CONTROL,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** `0 B`, `999 B`, `1.5 KiB`, `23 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  const text = unit === 0 || value >= 99.5 ? String(Math.round(value)) : trimZero(value.toFixed(1))
  return `${text} ${UNITS[unit]}`
}

function trimZero(text: string): string {
  return text.endsWith('.0') ? text.slice(0, -2) : text
}

/** An ISO time as `2026-11-20 14:03` in the zone of this machine; anything else as it is. */
export function formatTime(iso: string | undefined): string {
  const time = new Date(iso ?? '')
  if (Number.isNaN(time.getTime())) return iso ?? '-'
  const pad = (value: number): string => String(value).padStart(2, '0')
  const day = `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`
  return `${day} ${pad(time.getHours())}:${pad(time.getMinutes())}`
}

/** `1 file`, `2 files`. */
export function count(value: number, noun: string): string {
  return `${value} ${noun}${value === 1 ? '' : 's'}`
}

/** `drwxr-xr-x` for a type and mode. */
export function formatMode(type: string, mode: number): string {
  const first = type === 'directory' ? 'd' : type === 'symlink' ? 'l' : type === 'file' ? '-' : '?'
  let text = first
  for (let shift = 6; shift >= 0; shift -= 3) {
    const bits = (mode >> shift) & 7
    text += `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${bits & 1 ? 'x' : '-'}`
  }
  return text
}

/** A column's heading; a number is set to the right. */
export interface Column {
  readonly title: string
  readonly isNumber?: boolean
}

/** Rows under headings, columns two spaces apart, cells cleaned, no trailing spaces. */
export function formatTable(columns: readonly Column[], rows: readonly string[][]): string {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => row.map(clean))]
  const widths = columns.map((_column, index) =>
    Math.max(...cells.map((row) => widthOf(row[index] ?? ''))),
  )
  const lines = cells.map((row) =>
    columns
      .map(({ isNumber }, index) => {
        const text = row[index] ?? ''
        const gap = ' '.repeat((widths[index] as number) - widthOf(text))
        return isNumber ? gap + text : text + gap
      })
      .join('  ')
      .trimEnd(),
  )
  return lines.join('\n')
}

/** Columns a text takes, roughly: wide East Asian characters and emoji take two. */
function widthOf(text: string): number {
  let width = 0
  for (const character of text) {
    const code = character.codePointAt(0) as number
    if (code < 0x300) width += 1
    else if (/\p{Mn}/u.test(character)) width += 0
    else width += isWide(code) ? 2 : 1
  }
  return width
}

function isWide(code: number): boolean {
  return (
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff)
  )
}
