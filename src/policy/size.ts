/** Sizes as people write them. */

/** The word for: no limit. */
export const UNLIMITED = 'unlimited'

/** Largest first. */
const UNITS: readonly (readonly [unit: string, bytes: number])[] = [
  ['TiB', 1024 ** 4],
  ['TB', 1000 ** 4],
  ['GiB', 1024 ** 3],
  ['GB', 1000 ** 3],
  ['MiB', 1024 ** 2],
  ['MB', 1000 ** 2],
  ['KiB', 1024],
  ['KB', 1000],
]

/**
 * Bytes of a text that the schema allows, rounded down; `unlimited` stays. Sizes end at 2^53 − 1
 * bytes, where files end.
 */
export function sizeFromText(text: string): number | string {
  if (text === UNLIMITED) return text
  const [, digits = '', unit = ''] = /^([0-9.]+) ?(\w+)$/.exec(text) ?? []
  const factor = UNITS.find(([name]) => name === unit.replace('k', 'K'))?.[1] ?? 1
  return Math.min(Math.floor(Number(digits) * factor), Number.MAX_SAFE_INTEGER)
}

/** A size for people, exact: in the largest unit that it is a whole number of. */
export function sizeToText(size: number | string): string {
  if (typeof size === 'string') return size
  const [unit, factor] = UNITS.find(([, bytes]) => size > 0 && size % bytes === 0) ?? ['B', 1]
  return `${size / factor} ${unit}`
}

/** The size as a number of bytes; no limit is infinite. */
export function sizeInBytes(size: unknown): number {
  return typeof size === 'number' ? size : Infinity
}
