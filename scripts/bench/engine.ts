/**
 * The storage engine: its cost per operation, and what it does with many files. Rows of one section
 * are taken together; `--only` runs the sections that have a figure of that name.
 */
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Group, GroupOptions, Report } from '../measure.ts'
import { measureCrdt } from './engine/crdt.ts'
import { measureJoin } from './engine/join.ts'
import { measureIdle, measureLs, measureUp100k, measureUp1m } from './engine/many-files.ts'
import { measurePath } from './engine/path.ts'

/** Figures that are taken together. */
interface Section {
  readonly figures: readonly string[]
  /** @param directory - its own, empty, removed afterwards. */
  run(report: Report, directory: string, options: GroupOptions): Promise<void>
}

const SECTIONS: readonly Section[] = [
  { figures: ['crdt_local', 'crdt_remote'], run: measureCrdt },
  { figures: ['path_local', 'path_remote', 'log_bytes_per_create'], run: measurePath },
  { figures: ['up_100k'], run: measureUp100k },
  { figures: ['up_1m', 'lookup_p50', 'lookup_p99'], run: measureUp1m },
  { figures: ['join_100k', 'join_100k_bytes_per_file'], run: measureJoin },
  { figures: ['ls_100k', 'ls_l_100k'], run: measureLs },
  { figures: ['idle_cpu', 'idle_growth', 'idle_rss_anon'], run: measureIdle },
]

function isWanted({ figures }: Section, only: readonly string[]): boolean {
  if (only.length === 0) return true
  return only.some((start) => figures.some((figure) => figure.startsWith(start)))
}

async function run(report: Report, options: GroupOptions): Promise<void> {
  for (const section of SECTIONS) {
    if (!isWanted(section, options.only)) continue
    const directory = fs.mkdtempSync(path.join(tmpdir(), 'wormhole-bench-'))
    try {
      await section.run(report, directory, options)
    } finally {
      fs.rmSync(directory, { recursive: true })
    }
  }
}

/** See the file header. */
export const group: Group = {
  name: 'engine',
  about: 'the storage engine: operations per CPU second, bytes of log, many files',
  run,
}
