/**
 * A damaged page of the index may end the process that opens it, at every start. So a start notes
 * that it is about to open the index, and takes the note away once it is open. Who finds the note
 * of a process that died has the index checked first, in a process of its own; a damaged one is set
 * aside, and made anew from the log.
 */
import { systemDisk } from '../disk.ts'
import { runCheck } from './check-run.ts'
import type { ProblemEvent, ThreadData } from './threads.ts'

/** To be called before the index is opened. */
export async function guardIndex(
  data: ThreadData,
  onProblem: (problem: ProblemEvent) => void,
): Promise<void> {
  const { index } = data.paths
  const note = noteOf(data)
  const isSuspect = systemDisk.readFileSync(note) !== undefined
  if (isSuspect && systemDisk.listSync(index).length > 0) await check(data, onProblem)
  systemDisk.openSync(note, { create: true }).close()
}

/** The index was opened, and everything that opening does with it is done. */
export function indexIsOpen(data: ThreadData): void {
  systemDisk.removeSync(noteOf(data))
}

function noteOf({ paths }: ThreadData): string {
  return `${paths.index}.opening`
}

async function check(data: ThreadData, onProblem: (problem: ProblemEvent) => void): Promise<void> {
  const { index } = data.paths
  const faults: string[] = []
  await runCheck(
    { data, parts: ['index'] },
    {
      signal: new AbortController().signal,
      onNews: (news) => news.type === 'finding' && faults.push(news.finding.message),
    },
  )
  if (faults.length === 0) return
  const aside = `${index}.damaged`
  systemDisk.removeSync(aside)
  systemDisk.renameSync(index, aside)
  const message = `${faults[0]}; the index was rebuilt from the log, the old one is ${aside}`
  onProblem({ code: 'INDEX_CORRUPT', message })
}
