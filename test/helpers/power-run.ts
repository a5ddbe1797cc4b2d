/**
 * A recorded run of one device, and what must be true of it after a power cut at any moment.
 *
 * The run is a list of steps; after each the visible tree is noted, and whether the step
 * acknowledged everything so far (an fsync). A cut between two disk operations may undo steps that
 * were not acknowledged, the newest first: names and attributes are those after some step, and each
 * file has the bytes that it had after a step with these names.
 */
import assert from 'node:assert/strict'
import type { PowerCut } from '../../src/disk-memory.ts'
import { SeededRandom, SimClock } from './sim-clock.ts'
import { PowerDevice } from './power-device.ts'
import { dumpTree, UNAVAILABLE } from './vfs-dump.ts'
import { CONTEXT, name, ROOT } from './vfs-user.ts'
import { admitTo, createTestVolume, giveFeed, type TestVolume } from './volume-device.ts'

/** Which commits of the index are there: the newest, fewer, none, or some that the log lacks. */
export type IndexState = 'kept' | 'older' | 'lost' | 'newer'

interface Step {
  readonly what: string
  /** Disk operations before and after it. */
  readonly from: number
  readonly to: number
  readonly tree: ReadonlyMap<string, string>
  /** Everything so far survives. */
  readonly isAcknowledged: boolean
  /** The other device at that time. */
  readonly peer: { readonly operationCount: number; readonly commitCount: number }
}

interface Held {
  readonly entry: string
  readonly handle: number
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
const RDWR = 2
const TRUNC = 0o1000
/** FALLOC_FL_PUNCH_HOLE with FALLOC_FL_KEEP_SIZE. */
const PUNCH_HOLE = 3
const SIMULATED_MS_MAX = 60_000
const BIG_BYTES = 5 * 1024 * 1024
/** Steps shown when none fits. */
const TOLD_STEPS_MAX = 8
const ALL: PowerCut = { survivors: 'all' }

/** Brings all that one device has to the other. */
async function deliver(from: PowerDevice, to: PowerDevice): Promise<void> {
  for (const feed of from.volume.frontier().keys()) await giveFeed(from.volume, to.volume, feed)
  await to.volume.settled()
}

/** See the head of this file. */
export class PowerRun {
  readonly seed: number
  readonly steps: Step[] = []
  readonly #clock = new SimClock()
  readonly #random: SeededRandom
  readonly #shared: TestVolume
  readonly #devices: PowerDevice[] = []
  #held: Held[] = []
  #count = 0

  private constructor(seed: number) {
    this.seed = seed
    this.#random = new SeededRandom(seed)
    this.#shared = createTestVolume(`power ${seed}`, this.#clock)
    for (const device of ['alice', 'bob']) {
      this.#devices.push(new PowerDevice(this.#options(device, this.#clock, this.#devices)))
    }
  }

  #options(device: string, clock: SimClock, peers: PowerDevice[], random = this.#random) {
    return {
      name: device,
      shared: this.#shared,
      clock,
      seed: `power ${this.seed}`,
      random,
      peers,
    }
  }

  get #alice(): PowerDevice {
    return this.#devices[0] as PowerDevice
  }

  get #bob(): PowerDevice {
    return this.#devices[1] as PowerDevice
  }

  /** Disk operations of the run: the moments at which `check` may cut are 0 up to this. */
  get operationCount(): number {
    return this.#alice.operationCount
  }

  /**
   * Lives through `stepCount` random steps.
   *
   * @param options.isLying - nothing that the device syncs is durable: `check` has to find out.
   */
  static async record(
    seed: number,
    stepCount: number,
    options: { readonly isLying?: boolean } = {},
  ): Promise<PowerRun> {
    const run = new PowerRun(seed)
    run.#alice.disk.isLying = options.isLying ?? false
    for (const device of run.#devices) await device.start()
    const { identity, shared } = run.#bob
    await run.#settle(admitTo(run.#alice.volume, identity, 'bob', shared))
    await run.#settle(deliver(run.#alice, run.#bob))
    await run.#step('start', async () => {}, true)
    for (let count = 0; count < stepCount; count++) {
      if (count === Math.floor(stepCount / 3)) await run.#bigFile()
      await run.#randomStep()
    }
    return run
  }

  #settle<T>(promise: Promise<T>): Promise<T> {
    return this.#clock.settle(promise, SIMULATED_MS_MAX)
  }

  #below(bound: number): number {
    return this.#random.below(bound)
  }

  async #step(what: string, work: () => Promise<void>, isAcknowledged = false): Promise<void> {
    await this.#settle(work())
    await this.#note(what, isAcknowledged)
  }

  async #note(what: string, isAcknowledged: boolean): Promise<void> {
    const from = this.steps.at(-1)?.to ?? 0
    const to = this.operationCount
    const tree = await dumpTree(this.#alice)
    const { operationCount } = this.#bob
    const peer = { operationCount, commitCount: this.#bob.commitsBefore(operationCount) }
    this.steps.push({ what, from, to, tree, isAcknowledged, peer })
  }

  async #randomStep(): Promise<void> {
    const kind = this.#below(100)
    const entry = NAMES[this.#below(NAMES.length)] as string
    if (kind < 22) await this.#write(entry)
    else if (kind < 30) await this.#save(entry)
    else if (kind < 36) await this.#hold(entry)
    else if (kind < 50) await this.#useHeld()
    else if (kind < 60) await this.#names(entry)
    else if (kind < 66) await this.#chmod(entry)
    else if (kind < 69) await this.#temporary()
    else if (kind < 72) await this.#nameless(entry)
    else if (kind < 80) await this.#remote()
    else if (kind < 86) await this.#step('drain', () => this.#alice.vfs.drain(), true)
    else {
      const durationMs = [30, 90, 1200, 4000][this.#below(4)] as number
      await this.#clock.run(durationMs)
      await this.#note(`${durationMs} ms pass`, false)
    }
  }

  #text(bytes = 1 + this.#below(3000)): string {
    const text = `version ${this.#count++} of the run `
    return text.repeat(Math.ceil(bytes / text.length))
  }

  async #write(entry: string): Promise<void> {
    let handle = -1
    await this.#step(`open ${entry}`, async () => {
      const found = this.#alice.lookup(ROOT, entry)
      if (found && (found.attr.mode & 0o170000) !== 0o100000) return
      handle = found
        ? this.#alice.open(found.nodeId, RDWR | TRUNC)
        : this.#alice.create(ROOT, entry).handle
    })
    if (handle < 0) return
    const text = this.#text()
    await this.#step(`write ${entry}`, () => this.#alice.write(handle, 0, text))
    if (this.#below(3) === 0) await this.#sync(entry, handle)
    await this.#step(`close ${entry}`, async () => this.#alice.close(handle))
  }

  #sync(entry: string, handle: number): Promise<void> {
    return this.#step(`fsync ${entry}`, async () => this.#alice.fs.fsync(handle, false), true)
  }

  /** As an editor saves. */
  async #save(entry: string): Promise<void> {
    const { fs } = this.#alice
    if (this.#alice.lookup(ROOT, '.save')) return
    await this.#write('.save')
    const target = this.#alice.lookup(ROOT, entry)
    if (target && (target.attr.mode & 0o170000) !== 0o100000) return
    this.#drop(entry)
    await this.#step(`rename .save to ${entry}`, async () => {
      const from = { parent: ROOT, name: name('.save') }
      await fs.rename(CONTEXT, from, { parent: ROOT, name: name(entry) }, 0)
    })
  }

  #drop(entry: string): void {
    for (const held of this.#held.filter((other) => other.entry === entry)) {
      this.#alice.close(held.handle)
    }
    this.#held = this.#held.filter((held) => held.entry !== entry)
  }

  async #hold(entry: string): Promise<void> {
    const found = this.#alice.lookup(ROOT, entry)
    if (!found || (found.attr.mode & 0o170000) !== 0o100000 || this.#held.length > 2) return
    this.#held.push({ entry, handle: this.#alice.open(found.nodeId, RDWR) })
  }

  async #useHeld(): Promise<void> {
    const held = this.#held[this.#below(this.#held.length || 1)]
    if (!held) return
    const { entry, handle } = held
    const kind = this.#below(7)
    if (kind === 4) await this.#punch(entry, handle, this.#below(4000), 1 + this.#below(3000))
    else if (kind === 5) await this.#copy(entry, handle)
    else if (kind < 2 || kind === 6) {
      const [offset, text] = [this.#below(4000), this.#text()]
      await this.#step(`write at ${offset} of ${entry}`, () => {
        return this.#alice.write(handle, offset, text)
      })
    } else if (kind === 2) await this.#sync(entry, handle)
    else await this.#step(`close ${entry}`, async () => this.#drop(entry))
  }

  #punch(entry: string, handle: number, offset: number, length: number): Promise<void> {
    return this.#step(`punch ${length} at ${offset} of ${entry}`, async () => {
      await this.#alice.fs.fallocate(CONTEXT, handle, offset, length, PUNCH_HOLE)
    })
  }

  /** Copies the start of the big file, or shares its content with one that is empty. */
  async #copy(entry: string, handle: number): Promise<void> {
    const { fs } = this.#alice
    const big = this.#alice.lookup(ROOT, 'big')
    if (!big || entry === 'big') return
    const from = { handle: this.#alice.open(big.nodeId, 0), offset: 0 }
    const found = this.#alice.lookup(ROOT, entry)
    const isShare = found !== undefined && this.#below(2) === 0
    if (isShare) {
      await this.#step(`empty ${entry}`, async () => {
        await fs.setattr(CONTEXT, found.nodeId, { sizeBytes: 0 }, handle)
      })
      await this.#step('drain', () => this.#alice.vfs.drain(), true)
    }
    // What is copied in one piece appears whole or not at all, as what is shared does.
    const length = isShare ? BIG_BYTES : 70_000
    await this.#step(`copy ${length} of big to ${entry}`, async () => {
      await fs.copyRange?.(CONTEXT, from, { handle, offset: 0 }, length)
    })
    this.#alice.close(from.handle)
  }

  /** A file that gets its name when it is written. */
  async #nameless(entry: string): Promise<void> {
    const { fs } = this.#alice
    if (this.#alice.lookup(ROOT, entry)) return
    const made = await fs.temporary?.(CONTEXT, ROOT, 0o600, RDWR)
    if (!made) return
    const { handle } = made.open
    await this.#step('write a file without a name', () =>
      this.#alice.write(handle, 0, this.#text()),
    )
    await this.#step(`link it as ${entry}`, async () => {
      await fs.link(CONTEXT, made.entry.nodeId, ROOT, name(entry))
    })
    await this.#step(`close ${entry}`, async () => this.#alice.close(handle))
  }

  /** Links, removes, renames or makes a directory. */
  async #names(entry: string): Promise<void> {
    const { fs } = this.#alice
    const other = NAMES[this.#below(NAMES.length)] as string
    const found = this.#alice.lookup(ROOT, entry)
    if (!found) {
      await this.#step(`mkdir ${entry}`, async () => {
        await fs.mkdir(CONTEXT, ROOT, name(entry), 0o755)
      })
    } else if ((found.attr.mode & 0o170000) === 0o040000) {
      await this.#step(`rmdir ${entry}`, async () => fs.rmdir(CONTEXT, ROOT, name(entry)))
    } else if (this.#alice.lookup(ROOT, other)) {
      this.#drop(entry)
      await this.#step(`unlink ${entry}`, async () => fs.unlink(CONTEXT, ROOT, name(entry)))
    } else if (this.#below(3) === 0) {
      await this.#step(`link ${entry} ${other}`, async () => {
        await fs.link(CONTEXT, found.nodeId, ROOT, name(other))
      })
    } else {
      this.#drop(entry)
      await this.#step(`rename ${entry} to ${other}`, async () => {
        const from = { parent: ROOT, name: name(entry) }
        await fs.rename(CONTEXT, from, { parent: ROOT, name: name(other) }, 0)
      })
    }
  }

  async #chmod(entry: string): Promise<void> {
    const found = this.#alice.lookup(ROOT, entry)
    if (!found) return
    const mode = 0o700 + this.#below(64)
    await this.#step(`chmod ${mode.toString(8)} ${entry}`, async () => {
      await this.#alice.fs.setattr(CONTEXT, found.nodeId, { mode }, undefined)
    })
  }

  async #temporary(): Promise<void> {
    await this.#write('.tmp')
    await this.#step('unlink .tmp', async () => {
      await this.#alice.fs.unlink(CONTEXT, ROOT, name('.tmp'))
    })
  }

  /** Something happens on the other device, and both exchange what they have. */
  async #remote(): Promise<void> {
    await this.#step('drain', () => this.#alice.vfs.drain(), true)
    await this.#step('bob receives', () => deliver(this.#alice, this.#bob))
    const text = this.#text()
    await this.#step('bob writes', async () => {
      await this.#bob.put(`by bob ${this.#below(4)}`, text)
      await this.#bob.vfs.drain()
    })
    await this.#step('alice receives', () => deliver(this.#bob, this.#alice))
  }

  /** A file that becomes segments while it is written. */
  async #bigFile(): Promise<void> {
    let handle = -1
    await this.#step('create big', async () => {
      handle = this.#alice.create(ROOT, 'big').handle
    })
    const piece = Buffer.alloc(128 * 1024)
    for (let offset = 0; offset < BIG_BYTES; offset += piece.length) {
      piece.fill(`${offset} of big. `)
      await this.#step(`write big at ${offset}`, () => this.#alice.write(handle, offset, piece))
    }
    if (this.#below(2) === 0) await this.#punch('big', handle, 100_000, BIG_BYTES / 2)
    if (this.#below(2) === 0) await this.#sync('big', handle)
    await this.#step('close big', async () => this.#alice.close(handle))
  }

  /**
   * Cuts the power after `operationCount` disk operations and starts the device on what is left.
   *
   * @throws AssertionError with what does not hold.
   */
  async check(operationCount: number, cut: PowerCut, index: IndexState): Promise<void> {
    const random = new SeededRandom(this.seed + operationCount)
    const before = this.#alice.commitsBefore(operationCount)
    const most = this.#alice.commitsBefore(Infinity)
    const commitCount = {
      kept: before,
      older: Math.max(0, before - random.below(4)),
      lost: 0,
      newer: Math.min(most, before + 1 + random.below(3)),
    }[index]
    const clock = new SimClock()
    await clock.run(this.#clock.monotonicMs())
    const devices: PowerDevice[] = []
    const options = (device: string) => this.#options(device, clock, devices, random)
    const moment = { operationCount, commitCount, cut }
    // What an index that is ahead knows has happened, here and there: the disk has lied.
    const until = Math.max(operationCount, this.#alice.operationsBefore(commitCount))
    const { peer } = this.steps.findLast((step) => step.to <= until) as Step
    const alice = this.#alice.after(moment, options('alice'))
    const bob = this.#bob.after({ ...peer, cut: ALL }, options('bob'))
    devices.push(alice, bob)
    for (const device of [bob, alice]) await clock.settle(device.start(), SIMULATED_MS_MAX)
    const tree = await dumpTree(alice)
    const [first, last] = this.#span(operationCount, until)
    if (index === 'newer') this.#checkLied(tree, first, last)
    else this.#explain(tree, first, last)
    if (index === 'newer') await this.#fetchLost(alice, bob, clock)
    else await this.#checkHonest(alice, tree, cut, random)
    await clock.settle(alice.vfs.drain(), SIMULATED_MS_MAX)
    await this.#goOn(alice, bob, clock)
  }

  /** What the log lost comes back from who has it; the next start knows what is lost for good. */
  async #fetchLost(alice: PowerDevice, bob: PowerDevice, clock: SimClock): Promise<void> {
    await clock.settle(deliver(bob, alice), SIMULATED_MS_MAX)
    alice.kill()
    await clock.settle(alice.start(), SIMULATED_MS_MAX)
  }

  /** On an honest disk there is nothing to report, and neither time nor another cut change it. */
  async #checkHonest(
    alice: PowerDevice,
    tree: ReadonlyMap<string, string>,
    cut: PowerCut,
    random: SeededRandom,
  ): Promise<void> {
    const isHere = [...tree.values()].every((line) => contentOf(line) !== UNAVAILABLE)
    assert.ok(isHere, 'all contents are here')
    if (random.below(4) === 0) {
      await alice.clock.run(random.below(100))
      alice.powerCut(cut.survivors, 'kept')
      await alice.clock.settle(alice.start(), SIMULATED_MS_MAX)
      assert.deepEqual(await dumpTree(alice), tree, 'the power failed once more')
    }
    assert.deepEqual(alice.problems, [], 'nothing to report')
    await alice.clock.settle(alice.vfs.drain(), SIMULATED_MS_MAX)
    assert.deepEqual(await dumpTree(alice), tree, 'publishing changed the tree')
  }

  /** The device writes, publishes, and converges with the other one. */
  async #goOn(alice: PowerDevice, bob: PowerDevice, clock: SimClock): Promise<void> {
    const { handle } = alice.create(ROOT, 'after')
    await alice.write(handle, 0, 'written after the cut')
    await clock.settle(Promise.resolve(alice.fs.fsync(handle, false)), SIMULATED_MS_MAX)
    alice.close(handle)
    await clock.settle(alice.vfs.drain(), SIMULATED_MS_MAX)
    for (const [from, to] of [
      [alice, bob],
      [bob, alice],
      [alice, bob],
    ] as const) {
      await clock.settle(deliver(from, to), SIMULATED_MS_MAX)
    }
    const [here, there] = [await dumpTree(alice), await dumpTree(bob)]
    assert.deepEqual(there, here, 'the other device shows the same')
    assert.match(here.get('/after') ?? '', /written after the cut/)
  }

  /** The newest step that is acknowledged, and the newest that has begun. */
  #span(operationCount: number, until: number): [number, number] {
    const done = (step: Step): boolean => step.isAcknowledged && step.to <= operationCount
    const first = Math.max(0, this.steps.findLastIndex(done))
    return [first, this.steps.findLastIndex((step) => step.from <= until)]
  }

  /** The tree must be after a step of the span. */
  #explain(tree: ReadonlyMap<string, string>, first: number, last: number): void {
    for (let at = first; at <= last; at++) if (this.#isRunFrom(at, last, tree)) return
    const owed = this.steps.slice(first, last + 1).slice(0, TOLD_STEPS_MAX)
    const told = owed.map(({ what, tree: shown }) => `${what}: ${text(shown)}`).join('\n')
    assert.fail(`the tree is none of those that may be left\n${text(tree)}\n--- may be\n${told}`)
  }

  /** The disk lied: steps may be mixed, but what is there was, and what is gone was gone once. */
  #checkLied(tree: ReadonlyMap<string, string>, first: number, last: number): void {
    const steps = this.steps.slice(first, last + 1)
    for (const [path, line] of tree) {
      const content = contentOf(line)
      const wasSo = (step: Step): boolean => {
        const shown = step.tree.get(path)
        return shown !== undefined && (content === UNAVAILABLE || contentOf(shown) === content)
      }
      assert.ok(steps.some(wasSo), `${path} was never ${line}`)
    }
    for (const path of (steps[0] as Step).tree.keys()) {
      const isGone = steps.some((step) => !step.tree.has(path))
      assert.ok(isGone || tree.has(path), `${path} is acknowledged and lost`)
    }
  }

  /** Whether each file is as after one of the steps from `at` on that kept the names. */
  #isRunFrom(at: number, begun: number, tree: ReadonlyMap<string, string>): boolean {
    const names = namesOf(tree)
    const missing = new Map([...tree].filter(([, line]) => contentOf(line) !== UNAVAILABLE))
    for (let index = at; index <= begun; index++) {
      const { tree: shown } = this.steps[index] as Step
      if (namesOf(shown) !== names) return false
      for (const [path, line] of missing) if (shown.get(path) === line) missing.delete(path)
      if (missing.size === 0) return true
    }
    return false
  }
}

function contentOf(line: string): string {
  return JSON.parse(line.slice(line.indexOf('"'))) as string
}

/** Paths, modes and link counts. */
function namesOf(tree: ReadonlyMap<string, string>): string {
  return [...tree].map(([path, line]) => `${path} ${line.split(' ', 2).join(' ')}`).join('\n')
}

function text(tree: ReadonlyMap<string, string>): string {
  return [...tree].map(([path, line]) => `${path} ${line.slice(0, 60)}`).join(' | ')
}
