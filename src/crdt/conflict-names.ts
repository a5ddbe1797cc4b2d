/**
 * Names of conflict copies: `report (conflict 2026-11-20 14.03.22 laptop).docx`.
 *
 * A pure function of the name, the loser's stamp and device, its id and a level, so every device
 * shows the same. Level 0 has no id; level 1 ends in ` <6 characters of the id>`; levels from 2 on
 * carry the whole id. A device name has no space here, an extension neither space nor bracket, so
 * two names of different levels, or of level 2 and more with different ids, are never equal.
 */
import { nameFromText, type FileName, type Hlc, type InodeId } from '../types.ts'

/** What a conflict name is made of. */
export interface CopyStamp {
  readonly hlc: Hlc
  readonly deviceName: string
  readonly id: InodeId
}

const NAME_BYTES_MAX = 255
const EXTENSION_BYTES_MAX = 16
const DEVICE_BYTES_MAX = 40

/** The conflict name of `name`, at most 255 bytes; the stem is cut between UTF-8 characters. */
export function conflictName(name: FileName, stamp: CopyStamp, level: number): FileName {
  const extension = extensionOf(name)
  const stem = name.slice(0, name.length - extension.length)
  const id = level === 0 ? '' : level === 1 ? ` ${stamp.id.slice(-6)}` : ` ${stamp.id}`
  const more = level > 2 ? `-${level - 1}` : ''
  const suffix = ` (conflict ${timeText(stamp.hlc)} ${deviceText(stamp.deviceName)}${id}${more})`
  const room = NAME_BYTES_MAX - suffix.length - extension.length
  return (cutUtf8(stem, room) + suffix + extension) as FileName
}

/** From the last dot on, unless that leads the name or what follows is no extension. */
function extensionOf(name: string): string {
  const dot = name.lastIndexOf('.')
  if (dot <= 0) return ''
  const extension = name.slice(dot)
  return extension.length > EXTENSION_BYTES_MAX || /[\s()]/.test(extension) ? '' : extension
}

/** UTC seconds, with dots because a colon is not allowed in names elsewhere. */
function timeText(hlc: Hlc): string {
  const text = new Date(Math.floor(hlc / 1000)).toISOString()
  return `${text.slice(0, 10)} ${text.slice(11, 19).replaceAll(':', '.')}`
}

function deviceText(deviceName: string): string {
  const bytes = nameFromText(deviceName).replace(/[\x00-\x20\x7f/()]/g, '-')
  return cutUtf8(bytes, DEVICE_BYTES_MAX) || 'unknown'
}

/** At most `bytesMax` bytes of a Latin-1 coded UTF-8 text, not cut inside a character. */
function cutUtf8(text: string, bytesMax: number): string {
  if (text.length <= bytesMax) return text
  let end = Math.max(0, bytesMax)
  while (end > 0 && (text.charCodeAt(end) & 0xc0) === 0x80) end--
  return text.slice(0, end)
}
