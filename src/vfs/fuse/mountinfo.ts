/**
 * The table of mounts of this process, `/proc/self/mountinfo`: proc_pid_mountinfo(5). Fields that
 * can hold spaces are octal-escaped (`\040`), and bytes are kept one per character.
 */
import fs from 'node:fs'

/** One mount. */
export interface MountEntry {
  readonly mountId: number
  /** `major:minor` of its files. */
  readonly device: string
  /** Where it is mounted, one character per byte. */
  readonly mountPoint: string
  /** As in mount(8): `fuse.wormhole`. */
  readonly type: string
  readonly source: string
}

/** Reads the escapes of the kernel: a backslash and three octal digits. */
function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}

/** Decodes the whole table, oldest mount first. Lines that cannot be understood are left out. */
export function decodeMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    const separator = fields.indexOf('-', 6)
    const [mountId, , device, , mountPoint] = fields
    const [type, source] = fields.slice(separator + 1)
    if (separator < 0 || !device || mountPoint === undefined || !type || source === undefined) {
      continue
    }
    entries.push({
      mountId: Number(mountId),
      device,
      mountPoint: unescape(mountPoint),
      type: unescape(type),
      source: unescape(source),
    })
  }
  return entries
}

/** The topmost mount exactly at `directory` (a real path), or undefined. */
export function findMount(directory: string): MountEntry | undefined {
  const mountPoint = Buffer.from(directory, 'utf8').toString('latin1')
  const table = decodeMountInfo(fs.readFileSync('/proc/self/mountinfo', 'latin1'))
  return table.findLast((entry) => entry.mountPoint === mountPoint)
}
