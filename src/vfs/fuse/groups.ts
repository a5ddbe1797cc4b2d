/**
 * Supplementary groups of a process, which the protocol does not tell: the `Groups` line of
 * `/proc/<pid>/status`, proc_pid_status(5). Reading it takes no lock that a request could hold.
 */
import fs from 'node:fs'

/** Decodes the line; none where there is no such line. */
export function decodeGroups(status: string): number[] {
  const line = /^Groups:(.*)$/m.exec(status)?.[1] ?? ''
  return line
    .split(/\s+/)
    .filter((word) => word !== '')
    .map(Number)
}

/** The groups of a process; none when it is gone, or lives in another PID namespace. */
export function groupsOf(pid: number): number[] {
  try {
    return decodeGroups(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return []
  }
}
