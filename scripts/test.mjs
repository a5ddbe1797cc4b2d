/**
 * Runs the test tiers and says in its last line how many tests passed, failed and were skipped.
 *
 *   node scripts/test.mjs                   everything that must hold before a change lands
 *   node scripts/test.mjs unit contract     these tiers only
 *   node scripts/test.mjs mount vfs         the mount files whose path contains "vfs"
 *   --timeout SECONDS                       another time limit for each file
 *   --root DIR                              another project (for its own tests)
 *
 * Exit codes: 0 all passed, 1 something failed or nothing ran, 2 usage. A test file without a test
 * in it counts as failed. What a file printed is shown when something in it failed.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { run } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'

/**
 * The tiers in the order they run: long files not last. `timeoutMs` bounds one file. A tier that
 * `isWaiting` most of the time, for other processes, runs one file more than there are cores; one
 * that `needsDist` starts `bin/wormhole.js`; one that `needsFuse` may skip without /dev/fuse, but
 * not where CI has it; one that `isOnDemand` runs only when it is named.
 */
const TIERS = {
  types: { command: ['node_modules/typescript/bin/tsc', '-p', '.', '--noEmit'] },
  tidy: { command: ['scripts/tidy.ts'], isTypeScript: true },
  unit: { timeoutMs: 120_000 },
  contract: { timeoutMs: 120_000 },
  model: { timeoutMs: 120_000 },
  sim: { timeoutMs: 480_000 },
  fuzz: { timeoutMs: 120_000 },
  crash: { timeoutMs: 300_000, needsDist: true, needsFuse: true },
  integration: { timeoutMs: 300_000, isWaiting: true, needsDist: true },
  mount: { timeoutMs: 300_000, needsDist: true, needsFuse: true },
  programs: { timeoutMs: 1_800_000, needsDist: true, isOnDemand: true },
}

const PARALLEL_FILES_MAX = 4

/** Flags that let Node run TypeScript. */
const LOADER = ['--import', new URL('./typescript.mjs', import.meta.url).href]

function addTo(total, counts) {
  for (const key of Object.keys(total)) total[key] += counts[key]
}

/** How the reason of a skip begins that says what a bare machine may lack: never a failure. */
const OPTIONAL = 'optional: '

/** `excused` are those of the skipped ones that are optional. */
const NOTHING = { passed: 0, failed: 0, skipped: 0, excused: 0 }

/** What would point the tests at the device, or the test run, that they are started from. */
const LEAKING_VARIABLES = [
  'NODE_TEST_CONTEXT',
  'WORMHOLE_BIND',
  'WORMHOLE_BOOTSTRAP',
  'WORMHOLE_HOME',
  'WORMHOLE_RUNTIME',
]

const scriptsDirectory = path.dirname(fileURLToPath(import.meta.url))

function parseArguments(args) {
  const tiers = []
  const filters = []
  let root = path.dirname(scriptsDirectory)
  let timeoutMs
  for (let index = 0; index < args.length; index++) {
    const word = args[index]
    if (word === '--root') root = path.resolve(args[++index] ?? '')
    else if (word === '--timeout') timeoutMs = Number(args[++index]) * 1000
    else if (word in TIERS) tiers.push(word)
    else filters.push(word)
  }
  const isSelective = tiers.length > 0 && !filters.some((word) => word.startsWith('-'))
  const isUsable =
    (filters.length === 0 || isSelective) && !(timeoutMs <= 0 || isNaN(timeoutMs ?? 1))
  const usual = Object.keys(TIERS).filter((tier) => !TIERS[tier].isOnDemand)
  const chosen = tiers.length > 0 ? tiers : usual
  return { root, filters, timeoutMs, isUsable, tiers: chosen }
}

function findFiles(root, tier, filters) {
  const directory = path.join(root, 'test', tier)
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true })
    .filter((name) => name.endsWith('.test.ts'))
    .filter((name) => filters.length === 0 || filters.some((part) => name.includes(part)))
    .map((name) => path.join(directory, name))
    .sort()
}

/** The assertion that failed, not the runner's wrapping of it. */
function describeError(error) {
  const cause = error?.cause ?? error
  return cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause)
}

/** Collects what the runner tells about one file. */
class FileTally {
  counts = { ...NOTHING }
  #name
  #startMs = performance.now()
  #output = []
  #notes = []
  #names = []

  constructor(name) {
    this.#name = name
  }

  onStart(data) {
    this.#names.length = data.nesting
    this.#names[data.nesting] = data.name
  }

  onOutput(data) {
    this.#output.push(data.message)
  }

  fail(what) {
    this.counts.failed++
    this.#notes.push(`  FAILED ${what}`)
  }

  /** A suite is only a heading, and a file that passed is only the sum: their tests are counted. */
  onEnd(data, hasPassed) {
    const isWholeFile = data.nesting === 0 && data.file === path.resolve(data.name)
    if (hasPassed && (isWholeFile || data.details?.type === 'suite')) return
    // Ended for its time limit: runFile says so.
    if (isWholeFile && data.details?.error?.failureType === 'testAborted') return
    const title = [...this.#names.slice(0, data.nesting), data.name].join(' > ')
    if (data.skip !== undefined || data.todo !== undefined) {
      this.counts.skipped++
      const reason = data.skip ?? data.todo
      if (String(reason).startsWith(OPTIONAL)) this.counts.excused++
      this.#notes.push(`  skipped ${title}${typeof reason === 'string' ? `: ${reason}` : ''}`)
    } else if (hasPassed) {
      this.counts.passed++
    } else {
      const text = describeError(data.details?.error).replaceAll(/^/gm, '    ')
      this.fail(`${isWholeFile ? 'the whole file' : title}\n${text}`)
    }
  }

  /** Prints one line, and everything that is known if there was a failure. */
  print() {
    const { passed, failed, skipped } = this.counts
    if (passed + failed + skipped === 0) this.fail('there is no test in it')
    const seconds = ((performance.now() - this.#startMs) / 1000).toFixed(1)
    const counts = `${passed} passed, ${this.counts.failed} failed, ${skipped} skipped`
    const hasFailed = this.counts.failed > 0
    console.log(`${hasFailed ? 'FAILED' : 'ok'} ${this.#name}: ${counts} in ${seconds} s`)
    if (hasFailed && this.#output.length > 0) {
      console.log(this.#output.join('').trimEnd().replaceAll(/^/gm, '  | '))
    }
    for (const note of this.#notes) console.log(note)
  }
}

/**
 * Runs one file in its own process. The time limit is kept here and not by `run`, whose own limit
 * does not end a process with pending work on Node 24.
 */
async function runFile(root, file, timeoutMs) {
  const tally = new FileTally(path.relative(root, file))
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), timeoutMs)
  const events = run({ files: [file], concurrency: 1, signal: late.signal })
  events.on('test:start', (data) => tally.onStart(data))
  events.on('test:pass', (data) => tally.onEnd(data, true))
  events.on('test:fail', (data) => tally.onEnd(data, false))
  events.on('test:stdout', (data) => tally.onOutput(data))
  events.on('test:stderr', (data) => tally.onOutput(data))
  for await (const event of events) void event
  clearTimeout(timer)
  if (late.signal.aborted) tally.fail(`it was not done within ${timeoutMs / 1000} s`)
  tally.print()
  return tally.counts
}

/** What the files of one tier came to. `seconds` is the time of each, added up. */
class TierTally {
  counts = { ...NOTHING }
  #tier
  #open
  #seconds = 0

  constructor(tier, fileCount) {
    this.#tier = tier
    this.#open = fileCount
    if (fileCount === 0) this.#close()
  }

  add(counts, seconds) {
    addTo(this.counts, counts)
    this.#seconds += seconds
    if (--this.#open === 0) this.#close()
  }

  #close() {
    this.counts = judgeSkips(this.#tier, this.counts)
    const { passed, failed, skipped } = this.counts
    const sum = passed + failed + skipped
    const time = `in ${this.#seconds.toFixed(1)} s, one after the other`
    console.log(`# ${this.#tier}: ${sum === 0 ? 'no tests' : `${sum} ${time}`}`)
  }
}

function countLanes(tier) {
  const cores = Math.max(2, availableParallelism())
  return Math.min(PARALLEL_FILES_MAX, cores + (TIERS[tier].isWaiting ? 1 : 0))
}

/**
 * Runs the files of several tiers in order, each as soon as its tier's number of lanes allows: no
 * core waits for the last file of a tier.
 */
async function runFiles(tiers, { root, filters, timeoutMs }) {
  const running = new Set()
  const tallies = []
  for (const tier of tiers) {
    const files = findFiles(root, tier, filters)
    const tally = new TierTally(tier, files.length)
    tallies.push(tally)
    for (const file of files) {
      while (running.size >= countLanes(tier)) await Promise.race(running)
      const startMs = performance.now()
      const ended = runFile(root, file, timeoutMs ?? TIERS[tier].timeoutMs).then((counts) => {
        running.delete(ended)
        tally.add(counts, (performance.now() - startMs) / 1000)
      })
      running.add(ended)
    }
  }
  await Promise.all(running)
  return tallies.map(({ counts }) => counts)
}

/** Runs a tier that is one command: it counts as one test. */
function runCommand(root, tier) {
  const { command, isTypeScript } = TIERS[tier]
  const [script, ...rest] = command
  const flags = isTypeScript ? LOADER : []
  const startMs = performance.now()
  const result = spawnSync(process.execPath, [...flags, path.join(root, script), ...rest], {
    cwd: root,
    stdio: 'inherit',
  })
  const hasPassed = result.status === 0
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1)
  console.log(`# ${tier}: ${hasPassed ? 'ok' : 'FAILED'} in ${seconds} s`)
  return { ...NOTHING, passed: hasPassed ? 1 : 0, failed: hasPassed ? 0 : 1 }
}

/** Where mounts must work, a skipped mount test hides a fault: it counts as failed. */
function judgeSkips(tier, counts) {
  if (!TIERS[tier].needsFuse) return counts
  const isRoot = process.getuid?.() === 0
  const hasDevice = existsSync('/dev/fuse')
  if (!hasDevice)
    console.log(`${tier}: /dev/fuse does not exist here, tests that mount are skipped`)
  const hiding = counts.skipped - counts.excused
  if (!process.env.CI || !isRoot || !hasDevice || hiding === 0) return counts
  console.log(`${tier}: ${hiding} skipped although /dev/fuse is here: counted as failed`)
  return { ...counts, failed: counts.failed + hiding, skipped: counts.excused }
}

/** Compiles first what the tiers start; a failed build fails a run that needs dist/. */
function buildFirst(root, tiers) {
  const script = path.join(root, 'scripts', 'build.mjs')
  if (!tiers.some((tier) => TIERS[tier].timeoutMs) || !existsSync(script)) return 0
  const built = spawnSync(process.execPath, [script], { cwd: root, encoding: 'utf8' })
  if (built.status === 0) return 0
  const isNeeded = tiers.some((tier) => TIERS[tier].needsDist)
  console.log(`build failed${isNeeded ? '' : ' (these tiers do not need it)'}`)
  if (isNeeded) console.log(built.stdout + built.stderr)
  return isNeeded ? 1 : 0
}

async function main() {
  const options = parseArguments(process.argv.slice(2))
  const { root, tiers, isUsable } = options
  if (!isUsable) {
    console.error(`usage: node scripts/test.mjs [TIER]… [PART OF A PATH]…`)
    console.error(`tiers: ${Object.keys(TIERS).join(' ')}`)
    return 2
  }
  const total = { ...NOTHING, failed: buildFirst(root, tiers) }
  const isCommand = (tier) => TIERS[tier].command !== undefined
  for (const tier of tiers.filter(isCommand)) addTo(total, runCommand(root, tier))
  const ofFiles = tiers.filter((tier) => !isCommand(tier))
  for (const counts of await runFiles(ofFiles, options)) addTo(total, counts)
  const hasRun = total.passed + total.failed > 0
  if (!hasRun) console.log('\nnothing ran: that counts as a failure')
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
  return hasRun && total.failed === 0 ? 0 : 1
}

/**
 * The runner gives its own flags to the processes it starts, so it must itself have the loader. A
 * device of whoever starts the tests must not leak into them.
 */
function restartWithLoader() {
  const env = { ...process.env }
  for (const name of LEAKING_VARIABLES) delete env[name]
  const script = fileURLToPath(import.meta.url)
  const child = spawnSync(process.execPath, [...LOADER, script, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env,
  })
  return child.status ?? 1
}

const hasLoader = process.execArgv.includes('--import')
process.exitCode = hasLoader ? await main() : restartWithLoader()
