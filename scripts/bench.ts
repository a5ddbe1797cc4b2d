/**
 * Runs benchmark groups and prints one JSON line per figure on standard output.
 *
 *   npm run bench                     all groups
 *   npm run bench -- disk chunks      these groups
 *   npm run bench -- --list           names and what they measure
 *
 * Exit codes: 0 every bar reached, 1 a bar missed or a group failed, 2 usage. Stable names of
 * figures: scripts/README.md. Measure on a quiet machine.
 */
import { readdirSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { createReport, type Group } from './measure.ts'

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
async function runGroup(group: Group): Promise<number> {
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
    await group.run(report)
  } catch (error) {
    console.error(`${group.name}: failed:`, error)
    missed++
  }
  return missed
}

async function main(names: readonly string[]): Promise<number> {
  const groups = await loadGroups()
  if (names.includes('--list')) {
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
    if (names.length === 0 || names.includes(group.name)) missed += await runGroup(group)
  }
  return missed === 0 ? 0 : 1
}

process.exitCode = await main(process.argv.slice(2))
