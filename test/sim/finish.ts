/**
 * The end of a run: everything is healed, everybody gets everything within a bound of simulated
 * time, and then every promise must have been kept.
 */
import type { ConflictView, ContentRef } from '../../src/crdt/interface.ts'
import { keptUpTo } from '../../src/daemon/strategy.ts'
import { hasCode } from '../../src/errors.ts'
import { addOrigins } from '../../src/log/frontier.ts'
import type { FeedStore } from '../../src/log/interface.ts'
import { feedRoot, type FeedHead, type FeedId, type Frontier } from '../../src/types.ts'
import {
  checkCauses,
  checkDerived,
  checkSame,
  contestedVersions,
  look,
  lookBack,
  tell,
  type Shown,
} from './checkers.ts'
import type { SimDevice } from './device.ts'
import { check, Failure } from './failure.ts'
import type { Deed } from './ledger.ts'
import type { Simulation } from './simulation.ts'

/** Longest simulated time from the end of all faults until everybody has everything. */
const SETTLE_MS_MAX = 180_000
/** Waits for a moment in which nothing moves. */
const QUIET_MS = 400
/** Operations of one device after another, when there is no concurrency. */
const CALM_ROUNDS = 4
const CALM_OPERATIONS = 6

/** Everybody lives, has room, publishes, and gets everything. */
async function heal(simulation: Simulation): Promise<void> {
  simulation.trace.add('everything is healed')
  simulation.healNetwork()
  for (const device of simulation.devices) {
    // A failed sync breaks a writer until the daemon starts again. One of several copies hears
    // of those who came meanwhile when it starts.
    if (device.isAlive && (device.hasTrouble || simulation.isOneOfMany(device))) {
      device.kill()
      simulation.user(device).died(false)
    }
    device.lightFuse(Infinity)
    if (!device.isAlive) await simulation.start(device)
    device.lightFuse(Infinity)
    simulation.user(device).closeAll()
  }
  while (await simulation.admit()) await simulation.clock.run(1000)
}

/**
 * The heads of a frontier, the same on all devices. Branches have names of each device's own. What
 * lies before the start of another one that is there says nothing more: a chain whose next entry
 * is never applied is one device's trunk and another's branch.
 */
function told(frontier: Frontier, feeds: FeedStore): string {
  const below = new Map<FeedId, FeedHead>()
  for (const feed of frontier.keys()) addOrigins(below, feed, feeds)
  return [...frontier]
    .filter(([feed, { length }]) => length > (below.get(feed)?.length ?? 0))
    .map(
      ([feed, { length, hash }]) => `${feedRoot(feed).slice(0, 6)}:${length}:${hash.slice(0, 6)}`,
    )
    .sort()
    .join(' ')
}

/** What keeps a device from being done; undefined when it is. */
function lacks(
  device: SimDevice,
  devices: readonly SimDevice[],
  hasOut: boolean,
): string | undefined {
  const [first] = devices as [SimDevice]
  const wasAnyRestored = devices.some(({ wasRestored }) => wasRestored)
  if (!device.isAlive) return 'is dead'
  const { vfs, duty } = device.daemon
  if (device.canEdit && vfs.pendingEdits > 0) return `has ${vfs.pendingEdits} edits to publish`
  const [stored, wanted] = [device, first].map(({ daemon: { feeds } }) =>
    told(feeds.frontier(), feeds),
  )
  if (stored !== wanted) return `stores ${stored}, ${first.name} stores ${wanted}`
  const [applied, others] = [device, first].map(({ daemon }) =>
    told(daemon.volume.appliedFrontier(), daemon.feeds),
  )
  if (applied !== others) return `has applied ${applied}, ${first.name} ${others}`
  const { files } = duty.missing
  if (files === 0) return undefined
  if (!wasAnyRestored && !hasOut) return `lacks ${files} contents`
  // What a backup took away may have been on that device alone.
  const found = obtainable(device, devices)
  return found && `lacks ${files} contents, of which ${found}`
}

/** A content that a device ought to hold, lacks, and could have of another. */
function obtainable({ daemon }: SimDevice, devices: readonly SimDevice[]): string | undefined {
  const others = devices.filter((other) => other.isAlive && other.daemon !== daemon)
  for (const { inode, ref, sizeBytes } of daemon.volume.wants({ countMax: 1e6 })) {
    const policies = daemon.overlay.policies(inode).map(({ policy }) => policy)
    if (sizeBytes > keptUpTo(policies, {}) || ref.type === 'empty') continue
    // A want too many: it is taken off the list when somebody looks at it.
    if (holds({ daemon }, { ref, sizeBytes })) continue
    const holder = others.find((other) => holds(other, { ref, sizeBytes }))
    if (holder) return `${holder.name} has that of ${inode}`
  }
  return undefined
}

function holds(
  { daemon }: Pick<SimDevice, 'daemon'>,
  content: { ref: ContentRef; sizeBytes: number },
): boolean {
  const { ref, sizeBytes } = content
  if (ref.type === 'chunk') return daemon.store.has(ref.address)
  if (ref.type === 'empty' || !daemon.store.has(ref.address)) return false
  const pieces = daemon.contents.read({ ref, sizeBytes }, { offset: 0, length: sizeBytes })
  if (Array.isArray(pieces)) return true
  void pieces.catch(() => undefined)
  return false
}

/** A file that was written over bytes which a backup took from everybody is never published. */
async function publish({ users, devices }: Simulation, device: SimDevice): Promise<void> {
  const user = users.get(device)
  try {
    await user?.drain()
  } catch (error) {
    // Own entries wait for lost ones: that is tried again until they are here.
    if (device.hasLost && hasCode(error, 'FEED_CORRUPT')) return
    const wasAnyRestored = devices.some(({ wasRestored }) => wasRestored)
    if (!wasAnyRestored || !hasCode(error, 'CHUNK_UNAVAILABLE')) throw error
    user?.forgo()
  }
}

/** Lets time pass until everybody has everything. @throws {Failure} `liveness`. */
export async function settle(simulation: Simulation): Promise<void> {
  const { clock } = simulation
  for (const device of simulation.members) {
    if (device.isAlive && device.canEdit) await publish(simulation, device)
    if (device.isAlive) device.daemon.duty.poke()
  }
  const deadlineMs = clock.monotonicMs() + SETTLE_MS_MAX
  for (let quietCount = 0; quietCount < 3;) {
    await clock.run(QUIET_MS)
    simulation.checkProblems()
    simulation.revocations.watch()
    const devices = simulation.members
    // What only a device had that is out is nowhere else.
    const hasOut = devices.length < simulation.devices.length
    const late = devices.map((device) => ({ device, what: lacks(device, devices, hasOut) }))
    const found = late.find(({ what }) => what !== undefined)
    quietCount = found ? 0 : quietCount + 1
    if (found && clock.monotonicMs() > deadlineMs) {
      const { device, what } = found
      throw new Failure(
        'liveness',
        `${SETTLE_MS_MAX} ms after the end of all faults ${device.name} ${what}`,
      )
    }
  }
}

/** All devices show the same tree; returns it. */
async function checkConverged(simulation: Simulation): Promise<Shown> {
  const { members: devices, ledger, options } = simulation
  const [first, ...others] = devices as [SimDevice, ...SimDevice[]]
  const shown = await look(first, ledger, devices)
  for (const device of others) {
    const other = await look(device, ledger, devices)
    // By policy contents may be kept in one place only; rot and backups take others away.
    const isCached =
      options.actions.has('policy') ||
      simulation.counts.has('fault flippedChunk') ||
      simulation.counts.has('fault restored') ||
      simulation.counts.has('revoke')
    const [here, there] = isCached ? withoutCached(shown, other) : [shown.lines, other.lines]
    checkSame(here, there, `${first.name} and ${device.name}`)
  }
  for (const device of devices) {
    checkDerived(device)
    await simulation.glance(device)
  }
  return shown
}

/** The lines of both without files whose bytes one of them lacks. */
function withoutCached(...shown: [Shown, Shown]): [string[], string[]] {
  const paths = new Set(shown.flatMap(({ elsewhere }) => [...elsewhere]))
  const isKnown = (line: string): boolean => ![...paths].some((path) => line.startsWith(`${path} `))
  const [left, right] = shown
  return [left.lines.filter(isKnown), right.lines.filter(isKnown)]
}

/** Nothing that is owed has vanished. */
async function checkNothingLost(simulation: Simulation, shown: Shown): Promise<void> {
  const { ledger, options, members: devices } = simulation
  const everything = new Set(shown.deeds)
  // A backup may take the newest version with it, and so may a device that is out, if it alone had
  // the bytes; what that replaced is still in the history.
  const counts = simulation.counts
  const isTaken = counts.has('fault restored') || counts.has('revoke')
  if (options.actions.has('policy') || isTaken) {
    for (const device of devices) {
      for (const deed of await lookBack(device, ledger)) everything.add(deed)
    }
  } else checkCauses(devices[0] as SimDevice, shown)
  const [lost] = ledger.lost(everything)
  check(lost === undefined, 'conflict', () => {
    return `${tell(lost as Deed)} is nowhere`
  })
}

function conflictsOf(device: SimDevice): ConflictView[] {
  return device.daemon.overlay.conflicts({ countMax: 10_000 }).conflicts
}

/** Where a conflict is. */
function placeOf({ parent, name }: ConflictView): string {
  return `${parent} ${name}`
}

/** What is in conflict there. */
function versionsOf({ versions }: ConflictView): string[] {
  return versions.map(({ inode, version }) => `${inode} ${version}`)
}

/** One device after the other edits what all have seen: that is no conflict. */
async function checkCalm(simulation: Simulation): Promise<void> {
  const { members: devices, random, trace } = simulation
  for (let round = 0; round < CALM_ROUNDS; round++) {
    const writers = devices.filter((device) => device.canEdit)
    const device = writers[random.below(writers.length)] as SimDevice
    trace.add(`calm round ${round}: ${device.name}`)
    const before = conflictsOf(device)
    const places = before.map(placeOf)
    // What the last writer had won is a conflict again where `copies` comes to hold for it.
    const versions = contestedVersions(device)
    for (const version of before.flatMap(versionsOf)) versions.add(version)
    for (let count = 0; count < CALM_OPERATIONS; count++) await simulation.edit(device)
    simulation.user(device).closeAll()
    await settle(simulation)
    const after = conflictsOf(device)
    // One that had two reasons, or two names, leaves the other one when one of them is gone.
    const isOld = (one: ConflictView): boolean =>
      places.includes(placeOf(one)) || versionsOf(one).every((each) => versions.has(each))
    const made = after.filter((one) => !isOld(one))
    // A rename takes an old conflict along to its new place.
    check(made.length === 0 || after.length <= before.length, 'conflict', () => {
      const told = made.map((one) => `${placeOf(one)} ${one.kind} of ${one.versions.length}`)
      return `${device.name} edited alone, and there is a conflict: ${told.join('; ')}`
    })
  }
}

/** The log alone gives the same trees again. */
async function checkRebuilt(simulation: Simulation): Promise<void> {
  const { members: devices, random, ledger } = simulation
  const device = devices[random.below(devices.length)] as SimDevice
  const before = await look(device, ledger)
  device.kill()
  device.loseIndex()
  await simulation.start(device)
  await settle(simulation)
  checkSame(...withoutCached(before, await look(device, ledger)), `${device.name} with a new index`)
}

/** Heals the world of a run and checks everything. */
export async function finish(simulation: Simulation): Promise<void> {
  const { log, users, revocations } = simulation
  await heal(simulation)
  await settle(simulation)
  const { members: devices } = simulation
  revocations.disown()
  revocations.checkCounted()
  await simulation.collections.finish()
  const shown = await checkConverged(simulation)
  await checkNothingLost(simulation, shown)
  const [first] = devices as [SimDevice]
  const honest = simulation.devices.filter(({ mayRepeat }) => !mayRepeat).map(({ id }) => id)
  log.checkOnce(first, (author) => !honest.includes(author))
  const temporaries = devices.flatMap((device) => users.get(device)?.temporaries ?? [])
  log.checkShortLived(
    first,
    temporaries.filter(({ isUnsure }) => !isUnsure),
  )
  const before = first.daemon.volume.frontier()
  await checkCalm(simulation)
  revocations.checkSecrecy(before)
  await checkRebuilt(simulation)
  await simulation.collections.finish()
  await checkConverged(simulation)
}
