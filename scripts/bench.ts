/**
 * Runs benchmark groups and prints one JSON line per figure on standard output.
 *
 *   npm run bench                     all groups
 *   npm run bench -- disk chunks      these groups
 *   npm run bench -- --list           names and what they measure
 *   npm run bench -- engine --only up_100k,crdt   figures whose names start so
 *
 * More options: `--keep DIR` keeps volumes that take long to build there for the next run,
 * `--minutes M` watches what is idle for that long.
 *
 * Exit codes: 0 every bar reached, 1 a bar missed or a group failed, 2 usage. Stable names of
 * figures: scripts/README.md. Measure on a quiet machine.
 */
import { readdirSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { createReport, type Group, type GroupOptions } from './measure.ts'

const directory = fileURLToPath(new URL('./bench/', import.meta.url))

async function loadGroups(): Promise<Group[]> {
  const files = readdirSync(directory).filter((name) => name.endsWith('.ts'))
  const modules = await Promise.all(
    files.sort().map(async (name) => {
      const url = pathToFileURL(path.join(directory, name)).href
      return (await import(url)) as { group: Group }
    }),
  )
  return modules.map(({ group }) => group)
}

/** Runs one group; returns how many of its figures missed their bar. */
async function runGroup(group: Group, options: GroupOptions): Promise<number> {
  const reason = group.whyNot?.()
  if (reason !== undefined) {
    console.error(`${group.name}: not run: ${reason}`)
    return 0
  }
  let missed = 0
  const report = createReport(group.name, (line) => {
    if (!line.ok) missed++
    console.log(JSON.stringify(line))
  })
  try {
    await group.run(report, options)
  } catch (error) {
    console.error(`${group.name}: failed:`, error)
    missed++
  }
  return missed
}

/** @throws for an option that does not exist. */
function parseOptions(words: readonly string[]) {
  return parseArgs({
    args: [...words],
    allowPositionals: true,
    options: {
      list: { type: 'boolean' },
      only: { type: 'string', multiple: true },
      keep: { type: 'string' },
      minutes: { type: 'string' },
    },
  })
}

async function main(words: readonly string[]): Promise<number> {
  let parsed: ReturnType<typeof parseOptions>
  try {
    parsed = parseOptions(words)
  } catch (error) {
    console.error(`bench: ${(error as Error).message}`)
    return 2
  }
  const { positionals: names, values } = parsed
  const options: GroupOptions = {
    only: (values.only ?? []).flatMap((text) => text.split(',')),
    ...(values.keep === undefined ? {} : { keep: path.resolve(values.keep) }),
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
  }
  const groups = await loadGroups()
  if (values.list) {
    for (const { name, about } of groups) console.log(`${name.padEnd(12)} ${about}`)
    return 0
  }
  const unknown = names.filter((name) => !groups.some((group) => group.name === name))
  if (unknown.length > 0) {
    const known = groups.map(({ name }) => name).join(' ')
    console.error(`bench: no group ${unknown.join(', ')}; there are: ${known}`)
    return 2
  }
  let missed = 0
  for (const group of groups) {
    if (names.length === 0 || names.includes(group.name)) missed += await runGroup(group, options)
  }
  return missed === 0 ? 0 : 1
}

process.exitCode = await main(process.argv.slice(2))
