/**
 * Durable is not published: how many changes programs make on a real mount, and how many of them
 * reach the log. The programs are real: `npm ci` of this project from npm's cache, a `git rebase`,
 * the compiler.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import process from 'node:process'
import type { ActivityReport } from '../../src/daemon/interface.ts'
import type { Device } from '../../test/helpers/process.ts'
import type { Group, Report } from '../measure.ts'
import { cpuSecondsOf, filesBelow, whyNoWorkload, withDevices } from '../workload.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const REBASED_COMMITS = 20
const REPOSITORY_FILES = 300
/** Requests that change something. */
const CHANGES = new Set([
  'SETATTR',
  'SYMLINK',
  'MKNOD',
  'MKDIR',
  'UNLINK',
  'RMDIR',
  'RENAME',
  'RENAME2',
  'LINK',
  'CREATE',
  'WRITE',
  'SETXATTR',
  'REMOVEXATTR',
  'FALLOCATE',
])

function run(directory: string, program: string, ...words: string[]): void {
  const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' }
  const { status, stderr } = spawnSync(program, words, { cwd: directory, env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${stderr}`)
}

/** Requests of the kernel that change something. */
function operationsOf({ requests }: ActivityReport): number {
  let count = 0
  for (const [name, times] of Object.entries(requests)) if (CHANGES.has(name)) count += times
  return count
}

function recordsOf({ records }: ActivityReport): number {
  return Object.values(records).reduce((sum, count) => sum + count, 0)
}

interface Account {
  readonly operations: number
  readonly records: number
  readonly edits: number
  readonly puts: number
  readonly entries: number
  readonly log_bytes: number
}

/** What has happened on a device so far; what is pending is published first. */
async function account(device: Device): Promise<Account> {
  await device.run(['sync', '--wait', '--timeout', '60'])
  const [volume] = (await device.status()).volumes
  if (!volume) throw new Error('there is no volume')
  const { activity } = volume
  const { edits, puts, entries } = activity
  const segments = filesBelow(device.home).filter((file) => file.includes('/log/'))
  let logBytes = 0
  for (const file of segments) logBytes += fs.statSync(file).size
  return {
    operations: operationsOf(activity),
    records: recordsOf(activity),
    edits,
    puts,
    entries,
    log_bytes: logBytes,
  }
}

function prepareNpm(directory: string): void {
  for (const name of ['package.json', 'package-lock.json']) {
    fs.copyFileSync(path.join(root, name), path.join(directory, name))
  }
}

function npmCi(directory: string): void {
  run(directory, 'npm', 'ci', '--offline', '--ignore-scripts', '--no-audit', '--no-fund')
}

/** A repository whose branch `topic` is `REBASED_COMMITS` ahead of a fork that `main` has left. */
function prepareGit(directory: string): void {
  const git = (...words: string[]): void => run(directory, 'git', ...words)
  git('init', '-q', '-b', 'main')
  git('config', 'user.name', 'bench')
  git('config', 'user.email', 'bench@example.invalid')
  for (let index = 0; index < REPOSITORY_FILES; index++) {
    const folder = path.join(directory, `d${index % 20}`)
    fs.mkdirSync(folder, { recursive: true })
    fs.writeFileSync(path.join(folder, `f${index}`), `line\n`.repeat(50))
  }
  git('add', '.')
  git('commit', '-q', '-m', 'base')
  git('checkout', '-q', '-b', 'topic')
  for (let index = 0; index < REBASED_COMMITS; index++) {
    fs.appendFileSync(path.join(directory, `d${index}`, `f${index}`), `topic ${index}\n`)
    git('commit', '-q', '-a', '-m', `topic ${index}`)
  }
  git('checkout', '-q', 'main')
  fs.writeFileSync(path.join(directory, 'new'), 'on main\n')
  git('add', '.')
  git('commit', '-q', '-m', 'on main')
  git('checkout', '-q', 'topic')
}

function compile(directory: string): void {
  const compiler = path.join(root, 'node_modules', '.bin', 'tsc')
  run(root, compiler, '-p', 'tsconfig.build.json', '--outDir', directory, '--incremental', 'false')
}

const WORK = [
  { name: 'npm_ci', prepare: prepareNpm, work: npmCi },
  {
    name: 'git_rebase',
    prepare: prepareGit,
    work: (directory: string) => run(directory, 'git', 'rebase', '-q', 'main'),
  },
  { name: 'compile', prepare: () => undefined, work: compile },
]

async function measure(report: Report): Promise<void> {
  await withDevices(['alice'], async ({ alice }) => {
    for (const { name, prepare, work } of WORK) {
      const directory = alice.path(name)
      fs.mkdirSync(directory)
      prepare(directory)
      const before = await account(alice)
      const cpuBefore = cpuSecondsOf([alice.daemonPid])
      const startMs = performance.now()
      work(directory)
      const wallSeconds = (performance.now() - startMs) / 1000
      const after = await account(alice)
      const cpuSeconds = cpuSecondsOf([alice.daemonPid]) - cpuBefore
      for (const key of Object.keys(after) as (keyof Account)[]) {
        const unit = key === 'log_bytes' ? 'B' : key.replace('_', ' ')
        const value = after[key] - before[key]
        const figure = { name: `${name}_${key}`, unit, better: 'lower' as const }
        report.take(figure, { value, cpuSeconds, wallSeconds })
      }
    }
  })
}

/** See the file header. */
export const group: Group = {
  name: 'publish',
  about: 'changes made and changes published: npm ci, git rebase, the compiler on a mount',
  whyNot: whyNoWorkload,
  run: measure,
}
