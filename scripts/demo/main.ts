/**
 * The demonstration: tells how three devices share a folder, lose sight of each other, edit the
 * same file, and agree again. Every step is checked; the first check that does not hold ends it.
 */
import { createHash, randomBytes } from 'node:crypto'
import process from 'node:process'
import { waitFor } from '../../test/helpers/process.ts'
import { compareTrees, hashFile } from '../../test/helpers/tree.ts'
import { Narrator } from './narrator.ts'
import { NAMES, Stage, type Name } from './stage.ts'

const ARRIVAL_TIMEOUT_MS = 30_000
const FIRST = 'Meeting on Friday at ten.\n'
const ALICE = 'Meeting on Friday at nine. (alice)\n'
const BOB = 'Meeting on Monday at ten. (bob)\n'
const LARGE_BYTES = 8 * 1024 * 1024

/** Waits until a device reads `text`; returns after how many milliseconds. */
async function arrival(stage: Stage, name: Name, file: string, text: string): Promise<number> {
  const startMs = performance.now()
  await waitFor(async () => (await stage.read(name, file)) === text, {
    timeoutMs: ARRIVAL_TIMEOUT_MS,
    what: `${name} reads the new ${file}`,
    onTimeout: () => stage.devices[name].logs(),
  })
  return Math.round(performance.now() - startMs)
}

async function tellBeginning(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('alice creates a volume, bob and carol join')
  const invite = await stage.init('alice')
  for (const name of ['bob', 'carol'] as const) {
    const report = await stage.join(name, invite)
    const isThere = !stage.isMounted || report.mountpoint !== undefined
    narrator.check(`${name} is in the volume`, isThere, report.warning)
  }
}

async function tellSharing(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('a file appears everywhere')
  await stage.write('alice', 'notes.txt', FIRST)
  narrator.say('alice writes notes.txt')
  for (const name of ['bob', 'carol'] as const) {
    const tookMs = await arrival(stage, name, 'notes.txt', FIRST)
    narrator.check(`${name} reads it ${tookMs} ms after looking`, true)
  }
  if (!stage.isMounted) return
  const large = randomBytes(LARGE_BYTES)
  await stage.write('bob', 'photo.raw', large)
  await stage.sync('bob', { require: 2 })
  const expected = createHash('sha256').update(large).digest('hex')
  const digests = NAMES.map((name) => hashFile(stage.devices[name].path('photo.raw')))
  const areEqual = digests.every((digest) => digest === expected)
  narrator.check('a photo of 8 MiB from bob is the same everywhere', areEqual)
}

async function tellPartition(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('the network breaks, and two edit the same file')
  await stage.apart(
    async () => {
      await stage.write('alice', 'notes.txt', ALICE)
      narrator.say('alice changes notes.txt')
      await arrival(stage, 'carol', 'notes.txt', ALICE)
      narrator.check('carol, on her side, sees it', true)
    },
    async () => {
      const text = await stage.read('bob', 'notes.txt')
      narrator.check('bob still reads what he had', text === FIRST, text)
      await stage.write('bob', 'notes.txt', BOB)
      const own = await stage.read('bob', 'notes.txt')
      narrator.check('bob changes notes.txt too, and knows nothing of alice', own === BOB, own)
    },
  )
}

async function tellHealing(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('the network is back: nothing is lost, everybody agrees')
  for (const name of NAMES) await stage.sync(name, { require: 2 })
  for (const name of NAMES) {
    const names = (await stage.list(name)).filter((file) => file.startsWith('notes'))
    const texts = await Promise.all(names.map((file) => stage.read(name, file)))
    const hasBoth = texts.length === 2 && texts.includes(ALICE) && texts.includes(BOB)
    narrator.check(`${name} has both versions: ${names.join(', ')}`, hasBoth, texts.join(''))
  }
  const conflicts = await stage.conflicts('carol')
  const conflict = conflicts.find(({ path }) => path === '/notes.txt')
  const authors = conflict?.versions.map(({ device }) => device).join(' and ')
  const isListed = conflicts.length === 1 && conflict?.versions.length === 2
  narrator.check(`the conflict is listed, by ${authors}`, isListed, JSON.stringify(conflicts))
  const lists = await Promise.all(NAMES.map((name) => stage.list(name)))
  const areEqual = lists.every((list) => list.join('/') === lists[0]?.join('/'))
  narrator.check('all see the same names', areEqual, JSON.stringify(lists))
  if (!stage.isMounted) return
  const [first, ...others] = NAMES.map((name) => stage.devices[name].mountpoint)
  for (const other of others) {
    const differences = compareTrees(first as string, other)
    const text = 'names, modes, times and bytes are equal on two mounts'
    narrator.check(text, differences.length === 0, differences.join('\n'))
  }
}

/** Collects what to take down; the demonstration's stand-in for a test. */
class Ending {
  readonly #steps: (() => void | Promise<void>)[] = []

  after(run: () => void | Promise<void>): void {
    this.#steps.push(run)
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step()
  }
}

/** Runs it. Exit code: 0 all checks held, 1 one did not, 2 usage, 130 interrupted. */
export async function main(args: readonly string[]): Promise<number> {
  if (args.some((word) => word !== '--once')) {
    console.error('usage: npm start [-- --once]')
    return 2
  }
  const isColoured = process.stdout.isTTY && process.env.NO_COLOR === undefined
  const narrator = new Narrator({ isColoured })
  const ending = new Ending()
  let interrupt = (): void => {}
  const interrupted = new Promise<'interrupted'>((resolve) => {
    interrupt = () => resolve('interrupted')
  })
  process.once('SIGINT', interrupt)
  try {
    const outcome = await Promise.race([tell(ending, narrator), interrupted])
    if (outcome === 'interrupted') return 130
    console.log(`\nAll ${narrator.checkCount} checks held.`)
    if (args.includes('--once')) return 0
    console.log('\nThe devices are up. Look at them, change something, watch it travel:')
    for (const place of outcome.places()) console.log(`   ${place}`)
    console.log('Ctrl-C ends the demonstration and cleans up.')
    const keepAlive = setInterval(() => {}, 60_000)
    await interrupted
    clearInterval(keepAlive)
    return 0
  } catch (error) {
    narrator.fail(error)
    return 1
  } finally {
    console.log('\ncleaning up')
    await ending.run()
  }
}

async function tell(ending: Ending, narrator: Narrator): Promise<Stage> {
  narrator.chapter('three devices on this machine')
  const stage = await Stage.open(ending, narrator)
  await tellBeginning(stage, narrator)
  await tellSharing(stage, narrator)
  await tellPartition(stage, narrator)
  await tellHealing(stage, narrator)
  return stage
}
